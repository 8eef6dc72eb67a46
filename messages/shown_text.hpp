// Texts of others, as a person may be shown them: in a log line, in a table of the command line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace collm {

/// The beginning, at most `bytes_max` bytes; no character of UTF-8 is halved.
inline std::string_view beginning(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  while (bytes_max > 0 && (static_cast<unsigned char>(text[bytes_max]) & 0xC0) == 0x80) --bytes_max;
  return text.substr(0, bytes_max);
}

/// With '?' for each control character: a line end would forge a line, an escape would reach the
/// terminal.
inline std::string on_one_line(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](std::size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
    };
    const bool c1 = byte(i) == 0xC2 && byte(i + 1) >= 0x80 && byte(i + 1) < 0xA0;
    const bool control = byte(i) < 0x20 || byte(i) == 0x7F || c1;
    out += control ? '?' : text[i];
    if (c1) ++i;
  }
  return out;
}

}  // namespace collm
