// A failure on its way to an HTTP client: what the body and the retry headers will say.
#pragma once

#include <cstdint>
#include <string>

#include "gateway/http_message.hpp"
#include "gateway/http_status.hpp"
#include "messages/result.hpp"

namespace collm::gateway {

struct api_error {
  http_condition condition;
  std::string message;
  std::string param;  ///< the field at fault; empty: none
  std::uint32_t retry_after_ms = 0;

  /// The caller's input is wrong at `param`.
  static api_error bad(std::string param, std::string message);
  static api_error of(const error& failure);
};

/// `{"error":{"message","type","param","code"}}`, one line.
std::string error_json(const api_error& failure);

/// The whole response; 429 and 503 carry retry-after and retry-after-ms when there is advice, never
/// above 60 s (official SDKs ignore longer ones).
http_response error_response(const api_error& failure);

inline constexpr std::uint32_t retry_after_ms_max = 60'000;

}  // namespace collm::gateway
