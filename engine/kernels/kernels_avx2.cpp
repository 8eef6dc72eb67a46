#include "engine/kernels/gemm_avx2.hpp"
#include "engine/kernels/kernel_paths.hpp"
#include "engine/kernels/kernel_table.hpp"

namespace collm::engine {
const kernel_table kernels_avx2 = table_named("avx2");
}
