#include "gateway/audit.hpp"

#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace collm::gateway {
namespace {

std::string utc(std::int64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm t{};
  gmtime_r(&seconds, &t);
  std::array<char, 32> text;
  const auto size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &t);
  std::array<char, 8> rest;
  std::snprintf(rest.data(), rest.size(), ".%03dZ", static_cast<int>(unix_ms % 1000));
  return std::string(text.data(), size) + rest.data();
}

const char* outcome_of(unsigned status) {
  if (status == 0) return "the caller left";
  if (status == admin_act::unknown) return "it broke: done or not";
  return status < 400 ? "done" : "refused";
}

}  // namespace

std::string audit_line(const admin_act& act, std::int64_t unix_ms) {
  nlohmann::ordered_json out;
  out["time"] = utc(unix_ms);
  out["gateway"] = act.gateway;
  out["who"] = act.who;
  out["from"] = act.from;
  out["what"] = act.what;
  out["asked"] = act.asked.substr(0, admin_act::asked_bytes_max);
  out["request_id"] = act.request_id;
  out["status"] = act.status;
  out["outcome"] = outcome_of(act.status);
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace collm::gateway
