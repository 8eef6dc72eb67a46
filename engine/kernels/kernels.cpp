#include "engine/kernels/kernels.hpp"

#include <cstdlib>
#include <string_view>
#include <vector>

#include "engine/engine.hpp"
#include "engine/kernels/kernel_paths.hpp"

namespace collm::engine {
namespace {

bool has_vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

std::vector<const kernel_table*> runnable() {
  std::vector<const kernel_table*> paths;
  if (has_vnni()) paths.push_back(&kernels_avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c"))
    paths.push_back(&kernels_avx2);
  paths.push_back(&kernels_portable);
  return paths;
}

const kernel_table& chosen() {
  const char* asked = std::getenv("COLLM_KERNELS");
  for (const auto* path : kernel_paths())
    if (asked != nullptr && std::string_view(asked) == path->name) return *path;
  return *kernel_paths().front();
}

}  // namespace

std::span<const kernel_table* const> kernel_paths() {
  static const std::vector<const kernel_table*> paths = runnable();
  return paths;
}

const kernel_table& kernels() {
  static const kernel_table& table = chosen();
  return table;
}

std::string kernel_path() { return kernels().name; }

std::int8_t* wide_tiles_scratch(std::size_t bytes) {
  thread_local std::vector<std::int8_t> scratch;
  if (scratch.size() < bytes + row_alignment) scratch.resize(bytes + row_alignment);
  const auto past = reinterpret_cast<std::uintptr_t>(scratch.data()) % row_alignment;
  return scratch.data() + (row_alignment - past);
}

std::size_t attention_scratch_floats(std::uint32_t positions, std::uint32_t head_dim) {
  const std::size_t padded =
      (std::size_t{positions} + block_positions - 1) / block_positions * block_positions;
  return attention_queries * (padded + head_dim);
}

}  // namespace collm::engine
