// Expected failures as values. Not for broken invariants (COLLM_ASSERT) and not for foreign
// exceptions (caught at the walls).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace collm {

/// Whose fault it is and what the caller may do. gateway/ maps each code to one HTTP status; cli/
/// to an exit code.
enum class errc : std::uint8_t {
  bad_request,              ///< the caller's input is wrong; the message names the place
  context_length_exceeded,  ///< prompt plus max_tokens do not fit the model's context
  too_large,                ///< body, header or frame over its limit
  unauthorized,             ///< no or unknown key
  forbidden,                ///< known, but not allowed
  not_found,                ///< no such model, adapter, request or verb
  conflict,                 ///< the name or state is taken
  rate_limited,             ///< the tenant's own limit
  overloaded,               ///< our capacity; retry later
  draining,                 ///< shutting down; retry elsewhere or later
  unavailable,              ///< a peer, node or replica that is needed is away
  cancelled,                ///< the caller went away or asked for it
  slow_reader,              ///< the caller did not read its stream
  timeout,                  ///< a deadline passed
  corrupt,                  ///< a file or frame does not hold what it claims
  io,                       ///< the operating system refused
  internal,                 ///< our bug, made visible
};

/// Stable lower-case name of the code, for logs and JSON ("bad_request").
constexpr std::string_view to_string(errc code) {
  constexpr std::string_view names[] = {"bad_request", "context_length_exceeded",
                                        "too_large",   "unauthorized",
                                        "forbidden",   "not_found",
                                        "conflict",    "rate_limited",
                                        "overloaded",  "draining",
                                        "unavailable", "cancelled",
                                        "slow_reader", "timeout",
                                        "corrupt",     "io",
                                        "internal"};
  return names[static_cast<std::uint8_t>(code)];
}

/// One failure: code for machines, message for people (names the place and what would be right).
struct error {
  errc code = errc::internal;
  std::string message;
  std::uint32_t retry_after_ms = 0;  ///< 0: no advice
};

/// Either a value or an `error`. Never both, never neither.
template <class T>
class [[nodiscard]] result {
 public:
  result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  result(error failure) : state_(std::in_place_index<1>, std::move(failure)) {}  // NOLINT
  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const collm::error& failure() const { return std::get<1>(state_); }

 private:
  std::variant<T, collm::error> state_;
};

template <>
class [[nodiscard]] result<void> {
 public:
  result() = default;
  result(error failure) : failure_(std::move(failure)) {}  // NOLINT: implicit on purpose
  explicit operator bool() const { return !failure_.has_value(); }
  const collm::error& failure() const { return *failure_; }

 private:
  std::optional<collm::error> failure_;
};

}  // namespace collm
