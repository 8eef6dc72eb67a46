#include "text/utf8.hpp"

namespace collm::text {
namespace {

struct lead {
  std::uint8_t size;       // bytes of the whole sequence; 0: no sequence starts so
  std::uint8_t low, high;  // range of the second byte: shuts out overlong forms, surrogates, and
                           // what is past U+10FFFF
};

lead lead_of(std::uint8_t byte) {
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte < 0xF0) {
    return {3, std::uint8_t(byte == 0xE0 ? 0xA0 : 0x80), std::uint8_t(byte == 0xED ? 0x9F : 0xBF)};
  }
  if (byte < 0xF5) {
    return {4, std::uint8_t(byte == 0xF0 ? 0x90 : 0x80), std::uint8_t(byte == 0xF4 ? 0x8F : 0xBF)};
  }
  return {0, 0, 0};
}

}  // namespace

utf8_step utf8_next(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  if (byte(0) < 0x80) return {utf8_state::whole, 1, byte(0)};
  const lead first = lead_of(byte(0));
  if (first.size == 0) return {utf8_state::invalid, 1, 0};
  char32_t point = byte(0) & (0x7Fu >> first.size);
  for (std::uint8_t i = 1; i < first.size; ++i) {
    if (i >= text.size()) return {utf8_state::truncated, i, 0};
    const std::uint8_t low = i == 1 ? first.low : 0x80;
    const std::uint8_t high = i == 1 ? first.high : 0xBF;
    if (byte(i) < low || byte(i) > high) return {utf8_state::invalid, i, 0};
    point = (point << 6) | (byte(i) & 0x3Fu);
  }
  return {utf8_state::whole, first.size, point};
}

void utf8_append(std::string& out, char32_t point) {
  const auto put = [&](char32_t bits) { out.push_back(static_cast<char>(bits)); };
  if (point < 0x80) return put(point);
  if (point < 0x800) {
    put(0xC0 | (point >> 6));
  } else {
    if (point < 0x10000) {
      put(0xE0 | (point >> 12));
    } else {
      put(0xF0 | (point >> 18));
      put(0x80 | ((point >> 12) & 0x3F));
    }
    put(0x80 | ((point >> 6) & 0x3F));
  }
  put(0x80 | (point & 0x3F));
}

bool utf8_valid(std::string_view text) {
  while (!text.empty()) {
    const utf8_step step = utf8_next(text);
    if (step.state != utf8_state::whole) return false;
    text.remove_prefix(step.size);
  }
  return true;
}

std::string utf8_mended(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const utf8_step step = utf8_next(text);
    utf8_append(out, step.state == utf8_state::whole ? step.point : U'\uFFFD');
    text.remove_prefix(step.size);
  }
  return out;
}

}  // namespace collm::text
