#include "tests/fuzz/fuzz_main.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

#ifdef __SANITIZE_ADDRESS__
// Libraries beside the parsers are not instrumented: their containers would be reported.
extern "C" const char* __asan_default_options() {  // NOLINT(bugprone-reserved-identifier)
  return "detect_container_overflow=0:detect_leaks=0";
}
#endif

namespace {

std::uint64_t executions = 0;

void run(const std::string& bytes) {
  ++executions;
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

/// 0 where it is not set; what is no number is told and ends the run.
std::uint32_t number_of(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return 0;
  char* end = nullptr;
  const auto number = std::strtoul(text, &end, 10);
  if (end != text && *end == '\0') return static_cast<std::uint32_t>(number);
  std::fprintf(stderr, "%s=%s: a number would be right\n", variable, text);
  std::exit(2);
}

/// A finding ends the process: the last line names its seed.
void drive_for(std::chrono::seconds time, std::uint32_t seed) {
  const auto end = std::chrono::steady_clock::now() + time;
  for (; std::chrono::steady_clock::now() < end; ++seed) {
    std::printf("COLLM_FUZZ_SEED=%u\n", seed);
    std::fflush(stdout);
    collm::fuzz::drive(run, seed);
  }
  std::printf("%llu executions without a finding\n", static_cast<unsigned long long>(executions));
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    run({std::istreambuf_iterator<char>(file), {}});
  }
  if (argc > 1) return 0;
  const auto seed = number_of("COLLM_FUZZ_SEED");
  if (const auto seconds = number_of("COLLM_FUZZ_SECONDS"); seconds > 0)
    drive_for(std::chrono::seconds(seconds), seed);
  else
    collm::fuzz::drive(run, seed);
  return 0;
}
