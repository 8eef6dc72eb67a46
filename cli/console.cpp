#include "cli/console.hpp"

#include <algorithm>
#include <ostream>
#include <vector>

#include "messages/shown_text.hpp"

namespace collm::cli {
namespace {

const char* escape_of(style how) {
  constexpr const char* escapes[] = {"", "\x1b[2m", "\x1b[1m", "\x1b[32m", "\x1b[33m", "\x1b[31m"};
  return escapes[static_cast<std::uint8_t>(how)];
}

/// Characters on screen: UTF-8 continuation bytes take no column.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xC0) != 0x80; }));
}

bool is_usage(errc code) { return code == errc::bad_request; }

}  // namespace

std::string console::painted(std::string_view text, style how) const {
  const auto line = on_one_line(text);
  if (!colours_ || how == style::plain) return line;
  return escape_of(how) + line + "\x1b[0m";
}

void console::remark(std::string_view text) const {
  if (!json_) err_ << painted(text, style::dim) << std::endl;
}

void console::print(const json& document) const {
  out_ << document.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
}

int console::fail(const error& why) const {
  if (json_)
    print({{"error", {{"code", to_string(why.code)}, {"message", why.message}}}});
  else
    err_ << painted("collm: ", style::bad) << on_one_line(why.message) << std::endl;
  return is_usage(why.code) ? wrong_usage : failed;
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += on_one_line(row[i]) + std::string(widths[i] - width(row[i]) + 2, ' ');
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace collm::cli
