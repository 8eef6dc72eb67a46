// Identities that cross folders. Strong types where two ints could be mixed up.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace collm {

/// Unique within one gateway process; the gateway that made it also ends it.
using request_id = std::uint64_t;

/// One immutable adapter version, `name@number`. The base without adapter has an empty name.
struct version_id {
  std::string name;
  std::uint32_t number = 0;
  bool is_base() const { return name.empty(); }
  friend bool operator==(const version_id&, const version_id&) = default;
  friend auto operator<=>(const version_id&, const version_id&) = default;
};

/// "assistant@3"; "base" for the base itself.
inline std::string to_string(const version_id& v) {
  return v.is_base() ? "base" : v.name + "@" + std::to_string(v.number);
}

}  // namespace collm

template <>
struct std::hash<collm::version_id> {
  std::size_t operator()(const collm::version_id& v) const noexcept {
    return std::hash<std::string>{}(v.name) * 31 + v.number;
  }
};
