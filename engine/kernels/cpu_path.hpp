// Which instruction paths this processor can run, and which one this process computes on.
#pragma once

#include <string_view>
#include <vector>

namespace collm::engine {

inline constexpr std::string_view avx512_path = "avx512-vnni", avx2_path = "avx2",
                                  portable_path = "portable";

/// Fastest first.
std::vector<std::string_view> runnable_paths();

/// The fastest, or the one that COLLM_KERNELS names if it can run.
std::string_view chosen_path();

}  // namespace collm::engine
