// The two sites of the demo company and their devices. Constant data; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace collm::demo {

enum class site : std::uint8_t { kitchen, workshop };
inline constexpr std::array<site, 2> sites{site::kitchen, site::workshop};

/// What can be asked of a device. `power` and `door` are states, the others numbers.
enum class property : std::uint8_t { power, door, temp, level, speed, timer };

/// A number that a device accepts: low, low + step, ... high.
struct range {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  std::uint32_t step = 1;
};

/// A device's number besides the timer; every device with `timer` takes the same minutes.
struct dial {
  property what = property::power;  ///< `power`: the device has no dial
  range values;
};

using names = std::array<std::string_view, 4>;  ///< fewer: the rest is empty

struct device {
  std::string_view id;  ///< what the protocol calls it
  names said_in_kitchen;
  names said_in_workshop;  ///< equal to the other for a device that is not shared
  bool opens = false;      ///< has a door instead of power
  bool timed = false;
  dial number;
  std::uint8_t weight_kitchen = 0;  ///< how often it is spoken to there; 0: not there
  std::uint8_t weight_workshop = 0;
};

/// Both sites' devices, in a fixed order.
std::span<const device> devices();

/// The names that the staff of `staff` use for it.
std::span<const std::string_view> spoken_names(const device& d, site staff);

inline std::uint32_t weight(const device& d, site where) {
  return where == site::kitchen ? d.weight_kitchen : d.weight_workshop;
}

inline bool is_shared(const device& d) { return d.weight_kitchen > 0 && d.weight_workshop > 0; }

constexpr std::string_view to_string(site s) { return s == site::kitchen ? "kitchen" : "workshop"; }

}  // namespace collm::demo
