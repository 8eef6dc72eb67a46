// Inputs of workload_fuzz.cpp: mutations of a header and of requests.
#include "tests/fuzz/fuzz_main.hpp"
#include "tests/fuzz/mutation.hpp"

namespace {

constexpr std::string_view seeds[] = {
    "{\"workload\":1,\"made\":{\"seed\":7}}\n"
    "{\"t_ms\":5,\"tenant\":\"t\",\"site\":\"kitchen\",\"adapter\":\"a\",\"messages\":[{\"role\":"
    "\"user\",\"content\":\"hi\"}],\"reference\":\"x\",\"scorer\":\"exact\",\"max_tokens\":4,"
    "\"split\":\"served\"}\n",
    "{\"t_ms\":0,\"messages\":[{\"role\":\"system\",\"content\":\"\"},{\"role\":\"user\","
    "\"content\":"
    "\"\\u00e9\"}]}\n{\"t_ms\":9,\"messages\":[{\"role\":\"user\",\"content\":\"b\"}]}\n"};
constexpr std::string_view pieces[] = {"{",
                                       "}",
                                       "[",
                                       "]",
                                       ",",
                                       ":",
                                       "\"",
                                       "\n",
                                       "\r\n",
                                       "null",
                                       "true",
                                       "-1",
                                       "1e9",
                                       "\\ud800",
                                       "\xff",
                                       "[[[[[[[[",
                                       "0.5",
                                       "\"t_ms\":",
                                       "{}",
                                       "99999999999999999999",
                                       "\"messages\":[",
                                       "\x00"};

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::mt19937 random(6 + seed);
  for (const auto text : seeds) run(std::string(text));
  for (int i = 0; i < 20000; ++i) run(mutated(random, seeds, pieces));
}
