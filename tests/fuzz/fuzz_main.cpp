#include "tests/fuzz/fuzz_main.hpp"

#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

#ifdef __SANITIZE_ADDRESS__
// Libraries beside the parsers are not instrumented: their containers would be reported.
extern "C" const char* __asan_default_options() {  // NOLINT(bugprone-reserved-identifier)
  return "detect_container_overflow=0:detect_leaks=0:abort_on_error=1";
}
#endif

namespace {

// Of the processor's time, not the clock's: a busy machine is no finding.
constexpr itimerval input_time_max{{0, 0}, {10, 0}};

std::uint64_t executions = 0;
const std::string* current = nullptr;

void say(std::string_view text) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

/// As printf takes it. Within a signal: write() alone.
void tell_input() {
  say("input of the finding, for printf: '");
  for (const unsigned char c : *current) {
    const char octal[] = {'\\', static_cast<char>('0' + (c >> 6)),
                          static_cast<char>('0' + (c >> 3 & 7)), static_cast<char>('0' + (c & 7))};
    const bool plain = c >= 0x20 && c < 0x7f && c != '\\' && c != '\'' && c != '%';
    say(plain ? std::string_view(reinterpret_cast<const char*>(&c), 1)
              : std::string_view(octal, sizeof octal));
  }
  say("'\n");
}

void on_finding(int signal) {
  if (signal == SIGPROF) say("an input took more than 10 s of the processor\n");
  if (current != nullptr) tell_input();
  ::_exit(1);
}

void run(const std::string& bytes) {
  ++executions;
  current = &bytes;
  ::setitimer(ITIMER_PROF, &input_time_max, nullptr);
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  current = nullptr;
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
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

/// Seconds of the processor, so that a busy machine makes it no shorter. A finding ends the
/// process: the last line names its seed.
void drive_for(std::uint32_t seconds, std::uint32_t seed) {
  const auto used = [] { return std::clock() / CLOCKS_PER_SEC; };
  for (const auto end = used() + seconds; used() < end; ++seed) {
    std::printf("COLLM_FUZZ_SEED=%u\n", seed);
    std::fflush(stdout);
    collm::fuzz::drive(run, seed);
  }
  std::printf("%llu executions without a finding\n", static_cast<unsigned long long>(executions));
}

}  // namespace

const std::vector<std::string>& collm::fuzz::corpus() {
  static const auto all = [] {
    const std::filesystem::path folder = COLLM_SOURCE_DIR "/tests/fuzz/corpus/" COLLM_FUZZ_TARGET;
    std::vector<std::filesystem::path> files;
    if (std::filesystem::exists(folder)) {
      for (const auto& entry : std::filesystem::directory_iterator(folder))
        files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    std::vector<std::string> out;
    for (const auto& file : files) out.push_back(bytes_of(file));
    return out;
  }();
  return all;
}

int main(int argc, char** argv) {
  std::signal(SIGPROF, on_finding);
  std::signal(SIGABRT, on_finding);
  for (int i = 1; i < argc; ++i) run(bytes_of(argv[i]));
  if (argc > 1) return 0;
  for (const auto& bytes : collm::fuzz::corpus()) run(bytes);
  const auto seed = number_of("COLLM_FUZZ_SEED");
  if (const auto seconds = number_of("COLLM_FUZZ_SECONDS"); seconds > 0)
    drive_for(seconds, seed);
  else
    collm::fuzz::drive(run, seed);
  return 0;
}
