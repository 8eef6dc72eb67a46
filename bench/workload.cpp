#include "bench/workload.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/lines.hpp"
#include "messages/json_text.hpp"

namespace collm::bench {
namespace {

using json = nlohmann::ordered_json;
constexpr int format_version = 1;

/// What is wrong with a value, or nothing.
using complaint = std::optional<std::string>;

complaint take_count(const json& value, std::uint64_t low, std::uint64_t high, std::uint64_t& to) {
  if (value.is_number_unsigned()) to = value.get<std::uint64_t>();
  if (value.is_number_unsigned() && to >= low && to <= high) return std::nullopt;
  return "must be a whole number from " + std::to_string(low) + " to " + std::to_string(high);
}

complaint take_text(const json& value, std::size_t bytes_max, std::string& to) {
  if (!value.is_string()) return "must be a string";
  to = value.get<std::string>();
  if (to.size() > bytes_max)
    return "must not be longer than " + std::to_string(bytes_max) + " bytes";
  return std::nullopt;
}

complaint take_messages(const json& value, const workload_limits& bounds,
                        std::vector<message>& to) {
  if (!value.is_array() || value.empty() || value.size() > bounds.messages_max)
    return "must be an array of 1 to " + std::to_string(bounds.messages_max) + " messages";
  for (const json& m : value) {
    const bool whole = m.is_object() && m.size() == 2 && m.contains("role") &&
                       m.contains("content") && m["role"].is_string() && m["content"].is_string();
    if (!whole) return "must hold only {\"role\":string,\"content\":string}";
    to.push_back({m["role"].get<std::string>(), m["content"].get<std::string>()});
  }
  return std::nullopt;
}

complaint take_scorer(const json& value, scorer& to) {
  const auto named =
      value.is_string() ? demo::scorer_named(value.get<std::string>()) : std::nullopt;
  if (!named) return "must be \"exact\", \"contains\" or \"none\"";
  to = *named;
  return std::nullopt;
}

complaint take_field(const std::string& field, const json& value, const workload_limits& bounds,
                     request& to) {
  const std::size_t name_max = bounds.name_bytes_max;
  if (field == "t_ms") return take_count(value, 0, bounds.t_ms_max, to.t_ms);
  if (field == "tenant") return take_text(value, name_max, to.tenant);
  if (field == "site") return take_text(value, name_max, to.site);
  if (field == "adapter") return take_text(value, name_max, to.adapter);
  if (field == "messages") return take_messages(value, bounds, to.messages);
  if (field == "reference") return take_text(value, bounds.line_bytes_max, to.reference);
  if (field == "scorer") return take_scorer(value, to.judged_by);
  if (field == "split") return take_text(value, name_max, to.split);
  if (field != "max_tokens")
    return "is unknown; known are t_ms, tenant, site, adapter, messages, reference, scorer, "
           "max_tokens, split";
  std::uint64_t tokens = 0;
  const auto wrong = take_count(value, 1, bounds.max_tokens_max, tokens);
  to.max_tokens = static_cast<std::uint32_t>(tokens);
  return wrong;
}

complaint take_request(const json& line, const workload_limits& bounds, request& to) {
  for (const char* field : {"t_ms", "messages"})
    if (!line.contains(field)) return std::string(field) + " is missing";
  for (const auto& [field, value] : line.items())
    if (auto wrong = take_field(field, value, bounds, to)) return field + " " + *wrong;
  if (to.judged_by != scorer::none && to.reference.empty())
    return "reference is missing, and scorer is not \"none\"";
  return std::nullopt;
}

complaint take_header(const json& line, workload& to) {
  if (line["workload"] != format_version)
    return "workload " + line["workload"].dump() + " is not a format this program reads; 1 is";
  if (line.contains("made")) to.made = line["made"].dump();
  return std::nullopt;
}

json line_of(const request& r) {
  json messages = json::array();
  for (const message& m : r.messages)
    messages.push_back({{"role", m.role}, {"content", m.content}});
  return {{"t_ms", r.t_ms},
          {"tenant", r.tenant},
          {"site", r.site},
          {"adapter", r.adapter},
          {"messages", std::move(messages)},
          {"reference", r.reference},
          {"scorer", demo::to_string(r.judged_by)},
          {"max_tokens", r.max_tokens},
          {"split", r.split}};
}

complaint take_line(const json& line, bool first, const workload_limits& bounds, workload& to) {
  if (!line.is_object()) return "is not a JSON object";
  if (first && line.contains("workload")) return take_header(line, to);
  if (to.requests.size() == bounds.requests_max)
    return "more than " + std::to_string(bounds.requests_max) + " requests";
  request r;
  if (auto wrong = take_request(line, bounds, r)) return wrong;
  if (!to.requests.empty() && r.t_ms < to.requests.back().t_ms)
    return "t_ms " + std::to_string(r.t_ms) + " is before the line above; sort the file by t_ms";
  to.requests.push_back(std::move(r));
  return std::nullopt;
}

/// Bytes that are not UTF-8 are refused when read, so what is written is valid.
std::string dumped(const json& line) {
  return line.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

result<workload> read_workload(std::istream& in, const std::string& name,
                               const workload_limits& bounds) {
  workload read;
  line_reader lines(in, name, bounds.line_bytes_max);
  std::string text;
  while (true) {
    const auto more = lines.next(text);
    if (!more) return more.failure();
    if (!*more) break;
    if (text.empty()) continue;
    const json line = parse_json<json>(text);
    if (line.is_discarded()) return lines.wrong("is not valid JSON");
    if (auto wrong = take_line(line, lines.number() == 1, bounds, read)) return lines.wrong(*wrong);
  }
  if (read.requests.empty()) return error{errc::bad_request, name + ": holds no request"};
  return read;
}

result<workload> read_workload_file(const std::string& path, const workload_limits& bounds) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return error{errc::io, path + ": cannot be opened; is there such a file?"};
  return read_workload(in, path, bounds);
}

void write_workload(std::ostream& out, const workload& w) {
  out << dumped({{"workload", format_version}, {"made", json::parse(w.made)}}) << "\n";
  for (const request& r : w.requests) out << dumped(line_of(r)) << "\n";
}

result<void> write_workload_file(const std::string& path, const workload& w) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (out) write_workload(out, w);
  if (!out.flush())
    return error{errc::io, path + ": cannot be written; is there room, and the right to?"};
  return {};
}

}  // namespace collm::bench
