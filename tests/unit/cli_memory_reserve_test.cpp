// In a process of its own, whose writable memory ends.
#include "cli/memory_reserve.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace collm::cli {
namespace {

void let_memory_end(bool ends) {
  std::ifstream status("/proc/self/status");
  rlim_t has = RLIM_INFINITY;
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmData")) has = 1024 * std::stoul(line.substr(line.find(':') + 1));
  rlimit limit{};
  ::getrlimit(RLIMIT_DATA, &limit);
  limit.rlim_cur = ends ? has : limit.rlim_max;
  ::setrlimit(RLIMIT_DATA, &limit);
}

constexpr std::size_t small_ones = 1000, small = 256, large = 1 << 22;

/// Memory ends and comes back once; small ones are asked for on another thread, whose arena is
/// another one. What went wrong, empty: nothing.
std::string with_a_shortage() {
  if (memory_reserve::kept() != memory_reserve::blocks) return "it is not there at first";
  std::promise<void> ended;
  std::size_t had = 0;
  std::thread other([&had, over = ended.get_future()] {
    std::vector<std::unique_ptr<char[]>> took;
    took.reserve(small_ones);
    over.wait();
    try {
      while (took.size() < small_ones) took.push_back(std::make_unique<char[]>(small));
    } catch (const std::bad_alloc&) {
    }
    had = took.size();
  });
  std::string wrong;
  {
    std::vector<std::unique_ptr<char[]>> took;
    took.reserve(1 << 20);
    let_memory_end(true);
    try {
      while (took.size() < took.capacity()) took.push_back(std::make_unique<char[]>(large));
      wrong = "memory has no end";
    } catch (const std::bad_alloc&) {
    }
    if (memory_reserve::kept() != 0) wrong = "it was kept to the end";
    ended.set_value();
    other.join();
    let_memory_end(false);
  }
  if (had < small_ones) wrong = "there was room for " + std::to_string(had) + " small ones";
  memory_reserve::fill();
  if (memory_reserve::kept() != memory_reserve::blocks) wrong = "it did not come back";
  return wrong;
}

/// The second time with what was filled again.
std::string with_two_shortages() {
  const memory_reserve reserve;
  const auto first = with_a_shortage();
  return first.empty() ? with_a_shortage() : first;
}

TEST(memory_reserve_in_a_process, serves_what_is_small_when_memory_has_ended_and_fills_again) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's allocator asks no handler";
#endif
  EXPECT_EXIT(
      {
        const auto wrong = with_two_shortages();
        if (!wrong.empty()) std::fputs(wrong.c_str(), stderr);
        std::_Exit(wrong.empty() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace collm::cli
