// The one table from failures to HTTP: status, OpenAI's error type and code. SDKs choose their
// exception by the status.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "messages/result.hpp"

namespace collm::gateway {

/// How one kind of failure looks over HTTP. An empty code is JSON null.
struct http_condition {
  unsigned status = 500;
  std::string_view type = "server_error";
  std::string_view code;
};

namespace condition {
inline constexpr std::string_view invalid = "invalid_request_error";
inline constexpr std::string_view unavailable = "service_unavailable_error";

// Failures of HTTP itself, which no errc stands for.
inline constexpr http_condition unknown_url{404, invalid, ""};
inline constexpr http_condition method_not_allowed{405, invalid, ""};
inline constexpr http_condition request_timeout{408, invalid, "request_timeout"};
inline constexpr http_condition header_too_large{431, invalid, "header_too_large"};
inline constexpr http_condition version_not_supported{505, invalid, ""};
}  // namespace condition

/// Indexed by errc.
inline constexpr std::array<http_condition, 17> http_conditions{{
    {400, condition::invalid, ""},                          // bad_request
    {400, condition::invalid, "context_length_exceeded"},   // context_length_exceeded
    {413, condition::invalid, "request_too_large"},         // too_large
    {401, condition::invalid, "invalid_api_key"},           // unauthorized
    {403, "permission_error", ""},                          // forbidden
    {404, condition::invalid, "model_not_found"},           // not_found
    {409, condition::invalid, "conflict"},                  // conflict
    {429, "rate_limit_error", "rate_limit_exceeded"},       // rate_limited
    {503, condition::unavailable, "server_is_overloaded"},  // overloaded
    {503, condition::unavailable, "slow_down"},             // draining
    {503, condition::unavailable, "server_is_overloaded"},  // unavailable
    {503, condition::unavailable, "cancelled"},  // cancelled: by us, else nobody reads it
    {408, condition::invalid, "slow_reader"},    // slow_reader
    {504, "server_error", "timeout"},            // timeout
    {400, condition::invalid, "corrupt"},        // corrupt: what the caller pointed at
    {500, "server_error", "io"},                 // io
    {500, "server_error", ""},                   // internal
}};
static_assert(http_conditions.size() == static_cast<std::size_t>(errc::internal) + 1);

constexpr http_condition condition_of(errc code) {
  return http_conditions[static_cast<std::size_t>(code)];
}

/// The code that a Reject carries by name; `internal` for a name that this release does not know.
constexpr errc errc_of(std::string_view name) {
  for (std::size_t i = 0; i < http_conditions.size(); ++i) {
    if (to_string(static_cast<errc>(i)) == name) return static_cast<errc>(i);
  }
  return errc::internal;
}

}  // namespace collm::gateway
