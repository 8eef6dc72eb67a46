// Numbers as people say them. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "demo/rng.hpp"

namespace collm::demo {

/// 0 to 9999 in English words, in one of the usual ways: 185 is "one hundred and eighty five",
/// "one hundred eighty five" or "one eighty five"; 1200 is "one thousand two hundred" or "twelve
/// hundred".
std::string in_words(std::uint32_t number, rng& random);

/// Minutes in words: 90 may be "an hour and a half", 20 is "twenty minutes".
std::string minutes_in_words(std::uint32_t minutes, rng& random);

}  // namespace collm::demo
