#include "text/byte_alphabet.hpp"

#include <array>

#include "text/utf8.hpp"

namespace collm::text {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct alphabet {
  std::array<char32_t, 256> letter{};
  std::array<std::int16_t, 0x144> byte{};  // by letter; the last letter is U+0143
};

constexpr alphabet make_alphabet() {
  alphabet a;
  a.byte.fill(-1);
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    a.letter[byte] = stands_for_itself(byte) ? byte : next++;
    a.byte[a.letter[byte]] = static_cast<std::int16_t>(byte);
  }
  return a;
}

constexpr alphabet letters = make_alphabet();

}  // namespace

std::string spell_byte(std::uint8_t byte) {
  std::string out;
  utf8_append(out, letters.letter[byte]);
  return out;
}

std::optional<std::string> unspell(std::string_view spelling) {
  std::string bytes;
  while (!spelling.empty()) {
    const utf8_step step = utf8_next(spelling);
    if (step.state != utf8_state::whole || step.point >= letters.byte.size()) return std::nullopt;
    const std::int16_t byte = letters.byte[step.point];
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    spelling.remove_prefix(step.size);
  }
  return bytes;
}

}  // namespace collm::text
