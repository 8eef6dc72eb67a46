// How the staff of the two sites speak to their devices, and what the devices should be told. Pure;
// any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "demo/devices.hpp"
#include "demo/rng.hpp"

namespace collm::demo {

/// What occurs in an utterance, as bits.
enum trait : std::uint32_t {
  correction = 1u << 0,  ///< "… no, make it forty"
  doubled = 1u << 1,     ///< two orders
  ellipsis = 1u << 2,    ///< "the hood too", "fryer 170"
  worded = 1u << 3,      ///< a number in words
  digits = 1u << 4,      ///< a number in digits
  typo = 1u << 5,
  polite = 1u << 6,
  relative = 1u << 7,  ///< "ten degrees more"
  visitor = 1u << 8,   ///< said by the other site's staff, in their words
};
inline constexpr std::uint32_t traits_end = 1u << 9;

std::string_view to_string(trait t);

struct utterance {
  std::string text;
  std::string
      answer;  ///< one line of JSON: {"device":"on","device.temp":180}, keys as they were said
  std::uint32_t traits = 0;
};

/// One utterance at `where` by somebody of `staff`.
utterance speak(site where, site staff, rng& random);

}  // namespace collm::demo
