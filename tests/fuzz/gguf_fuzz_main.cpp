// Runs the target on a right file, on every cut of it, on seeded mutations, and on any files given.
#include <fstream>
#include <iterator>
#include <random>

#include "tests/unit/engine_gguf_bytes.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** names) {
  const auto whole = collm::engine::small_gguf().bytes;
  for (std::size_t size = 0; size <= whole.size(); ++size)
    LLVMFuzzerTestOneInput(whole.data(), size);
  std::mt19937 random(20);
  for (int i = 0; i < 200000; ++i) {
    auto bytes = whole;
    for (unsigned n = random() % 4 + 1; n > 0; --n) {
      const auto at = random() % bytes.size();
      bytes[at] = random() % 4 == 0 ? 0xff : static_cast<std::uint8_t>(random());
    }
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  for (int i = 1; i < count; ++i) {
    std::ifstream in(names[i], std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  return 0;
}
