// In a process of its own, whose writable memory ends.
#include "cli/memory_reserve.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <new>
#include <string>
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

/// What went wrong, empty: nothing.
std::string with_a_reserve() {
  const memory_reserve reserve;
  if (memory_reserve::kept() != memory_reserve::blocks) return "it is not there at first";
  std::vector<std::unique_ptr<char[]>> took;
  took.reserve(1 << 20);
  let_memory_end(true);
  try {
    while (took.size() < took.capacity()) took.push_back(std::make_unique<char[]>(1 << 22));
    return "memory has no end";
  } catch (const std::bad_alloc&) {
  }
  if (memory_reserve::kept() != 0) return "it was kept to the end";
  std::size_t small = 0;
  try {
    for (; small < 1000; ++small) took.push_back(std::make_unique<char[]>(256));
  } catch (const std::bad_alloc&) {
    return "there was room for " + std::to_string(small) + " small ones";
  }
  let_memory_end(false);
  memory_reserve::fill();
  return memory_reserve::kept() == memory_reserve::blocks ? "" : "it did not come back";
}

TEST(memory_reserve_in_a_process, serves_what_is_small_when_memory_has_ended_and_fills_again) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's allocator asks no handler";
#endif
  EXPECT_EXIT(
      {
        const auto wrong = with_a_reserve();
        if (!wrong.empty()) std::fputs(wrong.c_str(), stderr);
        std::_Exit(wrong.empty() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace collm::cli
