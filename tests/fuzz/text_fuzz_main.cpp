// Runs text_fuzz.cpp without libFuzzer: the files named on the command line, or random inputs from
// a fixed seed.
#include <cstdint>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

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

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    run({std::istreambuf_iterator<char>(file), {}});
  }
  if (argc > 1) return 0;
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) run(random_bytes(random));
  return 0;
}
