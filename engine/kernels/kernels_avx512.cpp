#include "engine/kernels/gemm_avx512.hpp"
#include "engine/kernels/kernel_paths.hpp"
#include "engine/kernels/kernel_table.hpp"

namespace collm::engine {
const kernel_table kernels_avx512 = table_named("avx512-vnni");
}
