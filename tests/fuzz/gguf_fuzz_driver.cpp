// Inputs of gguf_fuzz.cpp: a right file, every cut of it, and mutations.
#include <random>

#include "tests/fuzz/fuzz_main.hpp"
#include "tests/unit/engine_gguf_bytes.hpp"

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  const auto file = collm::engine::small_gguf().bytes;
  const std::string whole(file.begin(), file.end());
  for (std::size_t size = 0; size <= whole.size(); ++size) run(whole.substr(0, size));
  std::mt19937 random(20 + seed);
  for (int i = 0; i < 200000; ++i) {
    auto bytes = whole;
    for (unsigned n = random() % 4 + 1; n > 0; --n) {
      const auto at = random() % bytes.size();
      bytes[at] = static_cast<char>(random() % 4 == 0 ? 0xff : random());
    }
    run(bytes);
  }
}
