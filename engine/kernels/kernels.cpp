#include "engine/kernels/kernels.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "engine/engine.hpp"
#include "engine/kernels/cpu_path.hpp"
#include "engine/kernels/kernel_paths.hpp"

namespace collm::engine {
namespace {

std::vector<const kernel_table*> runnable() {
  std::vector<const kernel_table*> tables;
  for (const auto path : runnable_paths())
    tables.push_back(path == avx512_path ? &kernels_avx512
                     : path == avx2_path ? &kernels_avx2
                                         : &kernels_portable);
  return tables;
}

const kernel_table& chosen() {
  return **std::ranges::find(kernel_paths(), chosen_path(),
                             [](const kernel_table* t) { return std::string_view(t->name); });
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
