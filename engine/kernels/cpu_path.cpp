#include "engine/kernels/cpu_path.hpp"

#include <algorithm>
#include <cstdlib>

namespace collm::engine {

std::vector<std::string_view> runnable_paths() {
  std::vector<std::string_view> paths;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni"))
    paths.push_back(avx512_path);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c"))
    paths.push_back(avx2_path);
  paths.push_back(portable_path);
  return paths;
}

std::string_view chosen_path() {
  const auto paths = runnable_paths();
  const char* asked = std::getenv("COLLM_KERNELS");
  const auto found = std::ranges::find(paths, std::string_view(asked == nullptr ? "" : asked));
  return found != paths.end() ? *found : paths.front();
}

}  // namespace collm::engine
