#include "gateway/api_error.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace collm::gateway {

using json = nlohmann::ordered_json;

api_error api_error::bad(std::string param, std::string message) {
  return {condition_of(errc::bad_request), std::move(message), std::move(param), 0};
}

api_error api_error::of(const error& failure) {
  return {condition_of(failure.code), failure.message, {}, failure.retry_after_ms};
}

std::string error_json(const api_error& failure) {
  json inner;
  inner["message"] = failure.message;
  inner["type"] = failure.condition.type;
  inner["param"] = failure.param.empty() ? json(nullptr) : json(failure.param);
  inner["code"] = failure.condition.code.empty() ? json(nullptr) : json(failure.condition.code);
  json body;
  body["error"] = std::move(inner);
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

http_response error_response(const api_error& failure) {
  http_response out;
  out.status = failure.condition.status;
  out.body = error_json(failure);
  if ((out.status == 429 || out.status == 503) && failure.retry_after_ms > 0) {
    const auto ms = std::min(failure.retry_after_ms, retry_after_ms_max);
    out.headers.emplace_back("retry-after", std::to_string((ms + 999) / 1000));
    out.headers.emplace_back("retry-after-ms", std::to_string(ms));
  }
  return out;
}

}  // namespace collm::gateway
