// What handlers of several files share: answers as JSON, callbacks back on the Asio thread, bodies.
// Asio thread only.
#pragma once

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "gateway/exchange.hpp"
#include "gateway/field_reader.hpp"
#include "gateway/http_context.hpp"
#include "gateway/json_body.hpp"

namespace collm::gateway {

using ordered_json = nlohmann::ordered_json;

inline http_response json_response(std::string body) {
  http_response out;
  out.body = std::move(body);
  return out;
}

inline std::string dumped(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

/// A callback for the port, on any thread: runs `f(exchange, value)` on the Asio thread unless the
/// client has gone.
template <class F>
auto back_on_io(http_context& context, const exchange_ptr& x, F f) {
  return [gate = context.gate, x, f](auto value) {
    gate->post([x, f, value = std::move(value)] {
      if (x->over()) return;
      x->run([&] {
        // What came from another process may not read well; that is this one answer's failure.
        const auto handled = guard([&] { f(*x, value); });
        if (!handled) x->fail(api_error::of({errc::internal, handled.failure().message, 0}));
      });
    });
  };
}

/// The body's fields, `{}` if there is no body; nothing if the client was told what is wrong.
inline std::optional<nlohmann::json> body_object(http_context& context, exchange& x) {
  auto body = parse_object(x.request.body.empty() ? "{}" : std::string_view(x.request.body),
                           context.options.bounds.json_depth_max);
  if (body) return std::move(*body);
  x.fail(api_error::of(body.failure()));
  return std::nullopt;
}

inline std::string required(field_reader& fields, const char* name) {
  auto value = fields.string(name);
  if (value.empty())
    fields.fail(name, std::string("'") + name + "' must be a string that is not empty");
  return value;
}

/// A number from the query; nothing after an answer that says what is wrong.
inline std::optional<std::uint64_t> query_number(exchange& x, const char* name,
                                                 std::uint64_t otherwise, std::uint64_t most) {
  const auto text = x.request.parameter(name);
  if (!text) return otherwise;
  std::uint64_t value = 0;
  const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (ec == std::errc{} && end == text->data() + text->size() && value <= most) return value;
  x.fail(api_error::bad(name, std::string("'") + name + "' must be a number up to " +
                                  std::to_string(most) + ", not '" + *text + "'"));
  return std::nullopt;
}

/// `code` instead of "model_not_found" where what is missing is no model.
inline api_error failure_with(const error& failure, std::string_view code_if_missing) {
  auto out = api_error::of(failure);
  if (failure.code == errc::not_found) out.condition.code = code_if_missing;
  return out;
}

}  // namespace collm::gateway
