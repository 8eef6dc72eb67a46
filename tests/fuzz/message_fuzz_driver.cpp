// Inputs of message_fuzz.cpp: mutations of every message that travels, each union member in turn.
#include "tests/fuzz/fuzz_main.hpp"
#include "tests/fuzz/message_fuzz.hpp"
#include "tests/fuzz/mutation.hpp"

namespace {

using namespace std::string_view_literals;

// Words that Cap'n Proto reads as pointers: none, far, to a list or struct beyond the end, to an
// interface.
constexpr std::string_view pieces[] = {"\0\0\0\0\0\0\0\0"sv,
                                       "\x02\0\0\0\0\0\0\0"sv,
                                       "\xff\xff\xff\xff\xff\xff\xff\xff"sv,
                                       "\x01\0\0\0\xff\xff\xff\xff"sv,
                                       "\xfc\xff\xff\x7f\xff\xff\0\0"sv,
                                       "\x03\0\0\0\x01\0\0\0"sv};

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::vector<std::string> samples;
  for (std::size_t i = 0; i < kinds().size(); ++i)
    for (unsigned variant = 0; variant < 8; ++variant)
      samples.push_back(std::string(1, static_cast<char>(i)) + kinds()[i].sample(variant));
  const std::vector<std::string_view> seeds(samples.begin(), samples.end());
  std::mt19937 random(9 + seed);
  for (const auto& s : samples) run(s);
  for (int i = 0; i < 30000; ++i) run(mutated(random, seeds, pieces));
}
