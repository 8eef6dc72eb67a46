#include "engine/kernels/training_kernels.hpp"

#include <string_view>
#include <vector>

#include "messages/assert.hpp"

namespace collm::engine {
namespace {

std::vector<const training_table*> matching() {
  std::vector<const training_table*> tables;
  for (const auto* path : kernel_paths())
    for (const auto* table : {&training_avx512, &training_avx2, &training_portable})
      if (std::string_view(table->name) == path->name) tables.push_back(table);
  return tables;
}

}  // namespace

std::span<const training_table* const> training_paths() {
  static const std::vector<const training_table*> tables = matching();
  return tables;
}

const training_table& training_kernels() {
  for (const auto* table : training_paths())
    if (std::string_view(table->name) == kernels().name) return *table;
  COLLM_ASSERT(false);  // every path has its training half
  return training_portable;
}

}  // namespace collm::engine
