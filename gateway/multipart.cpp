#include "gateway/multipart.hpp"

#include <algorithm>
#include <cctype>

namespace collm::gateway {
namespace {

constexpr std::size_t boundary_bytes_max = 70;  // RFC 2046

error wrong(std::string what) { return {errc::bad_request, std::move(what)}; }

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// A quoted string from its first quote on; cuts it off `text`.
std::string take_quoted(std::string_view& text) {
  std::string out;
  std::size_t at = 1;
  for (; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\' && at + 1 < text.size() && (text[at + 1] == '"' || text[at + 1] == '\\'))
      ++at;
    out += text[at];
  }
  text.remove_prefix(std::min(at + 1, text.size()));
  return out;
}

/// The value of `wanted` among `; name=value; name="value"`.
std::string parameter_of(std::string_view header, std::string_view wanted) {
  auto rest = header.substr(std::min(header.find(';'), header.size()));
  while (!rest.empty()) {
    rest.remove_prefix(1);  // the semicolon
    const auto equals = rest.find_first_of("=;");
    if (equals == rest.npos) return {};
    const auto name = trimmed(rest.substr(0, equals));
    const bool valued = rest[equals] == '=';
    rest.remove_prefix(equals + (valued ? 1 : 0));
    std::string value;
    if (valued && rest.starts_with('"')) {
      value = take_quoted(rest);
    } else if (valued) {
      value = std::string(trimmed(rest.substr(0, rest.find(';'))));
    }
    rest.remove_prefix(std::min(rest.find(';'), rest.size()));
    if (valued && same_name(name, wanted)) return value;
  }
  return {};
}

/// The lines before a part's empty line.
result<form_part> part_of(std::string_view head) {
  while (!head.empty()) {
    const auto end = head.find("\r\n");
    const auto line = head.substr(0, end);
    head.remove_prefix(end == head.npos ? head.size() : end + 2);
    const auto colon = line.find(':');
    if (colon == line.npos || !same_name(trimmed(line.substr(0, colon)), "content-disposition"))
      continue;
    form_part part{parameter_of(line, "name"), parameter_of(line, "filename"), {}};
    if (part.name.empty()) return wrong("a part of the form has no name");
    return part;
  }
  return wrong("a part of the form has no Content-Disposition");
}

/// Takes one part off `rest`, which starts behind a delimiter's CRLF; leaves it behind the next
/// one.
result<form_part> take_part(std::string_view& rest, std::string_view delimiter) {
  const auto head_end = rest.substr(0, form_head_bytes_max + 4).find("\r\n\r\n");
  if (head_end == rest.npos)
    return wrong("the headers of a part have no end within " + std::to_string(form_head_bytes_max) +
                 " bytes");
  auto part = part_of(rest.substr(0, head_end));
  if (!part) return part;
  rest.remove_prefix(head_end + 4);
  const auto end = rest.find(delimiter);
  if (end == rest.npos)
    return wrong("part \"" + part->name + "\" has no end: the boundary is missing after it");
  part->content = rest.substr(0, end);
  rest.remove_prefix(end + delimiter.size());
  return part;
}

result<std::string> boundary_of(std::string_view content_type) {
  if (!same_name(trimmed(content_type.substr(0, content_type.find(';'))), "multipart/form-data"))
    return wrong("a file is sent as multipart/form-data, with the fields purpose and file");
  auto boundary = parameter_of(content_type, "boundary");
  if (boundary.empty() || boundary.size() > boundary_bytes_max)
    return wrong("Content-Type needs a boundary of 1 to " + std::to_string(boundary_bytes_max) +
                 " characters");
  return boundary;
}

}  // namespace

result<std::vector<form_part>> parse_form(std::string_view content_type, std::string_view body) {
  const auto boundary = boundary_of(content_type);
  if (!boundary) return boundary.failure();
  const std::string delimiter = "\r\n--" + *boundary;
  if (!body.starts_with(std::string_view(delimiter).substr(2)))
    return wrong("the body does not start with the boundary that Content-Type names");
  auto rest = body.substr(delimiter.size() - 2);
  std::vector<form_part> parts;
  while (!rest.starts_with("--")) {
    if (!rest.starts_with("\r\n")) return wrong("a boundary is not followed by a line's end");
    if (parts.size() == form_parts_max)
      return error{errc::too_large,
                   "the form has more than " + std::to_string(form_parts_max) + " parts"};
    rest.remove_prefix(2);
    auto part = take_part(rest, delimiter);
    if (!part) return part.failure();
    parts.push_back(std::move(*part));
  }
  return parts;
}

}  // namespace collm::gateway
