// One step through bytes that claim to be UTF-8. Never throws, never reads past the end. Pure
// functions, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace collm::text {

enum class utf8_state : std::uint8_t {
  whole,      ///< a code point
  invalid,    ///< bytes that no continuation can mend (overlong and surrogates included)
  truncated,  ///< the text ends inside a sequence that is right so far
};

struct utf8_step {
  utf8_state state;
  std::uint8_t size;  ///< bytes taken, 1 to 4; for `invalid` the part that one U+FFFD replaces
  char32_t point;     ///< only if `whole`
};

/// The step at the start of `text`, which is not empty. An invalid sequence is cut as Unicode's
/// "maximal subpart" rule does (and Python's and Rust's lossy decoding): U+FFFD for each.
utf8_step utf8_next(std::string_view text);

/// Appends the UTF-8 of `point`, a scalar value.
void utf8_append(std::string& out, char32_t point);

bool utf8_valid(std::string_view text);

/// With U+FFFD for each part that is no UTF-8.
std::string utf8_mended(std::string_view text);

}  // namespace collm::text
