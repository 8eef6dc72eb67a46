// Inputs of text_fuzz.cpp: random texts of what matters to tokenizers.
#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz_main.hpp"

namespace {

std::string random_bytes(std::mt19937& random) {
  constexpr std::string_view atoms[] = {
      " ", " ", "the", "'s", "é", "\xF0\x9F\x98\x80", "<|im_end|>", "<|im_", "7", "\n", "aab"};
  std::string out;
  for (std::size_t n = random() % 40; n > 0; --n) {
    if (random() % 3 == 0) {
      out.push_back(static_cast<char>(random()));
    } else {
      out += atoms[random() % std::size(atoms)];
    }
  }
  return out;
}

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::mt19937 random(3 + seed);
  for (int i = 0; i < 20000; ++i) run(random_bytes(random));
}
