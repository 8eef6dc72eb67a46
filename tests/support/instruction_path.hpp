// A test program's own results on another instruction path, which a process chooses once: it runs
// itself again.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

namespace collm::engine {

/// The line "digest …" that the test `filter` of this program prints on that path; empty: it
/// printed none.
inline std::string digest_on(std::string_view path, const std::string& filter) {
  const std::string command = "COLLM_KERNELS=" + std::string(path) + " '" +
                              std::filesystem::read_symlink("/proc/self/exe").string() +
                              "' --gtest_filter=" + filter;
  FILE* out = popen(command.c_str(), "r");
  char line[256];
  std::string digest;
  while (out != nullptr && std::fgets(line, sizeof line, out) != nullptr)
    if (std::string_view(line).starts_with("digest ")) digest = line;
  EXPECT_EQ(0, out == nullptr ? -1 : pclose(out));
  return digest;
}

}  // namespace collm::engine
