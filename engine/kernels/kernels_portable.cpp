#include "engine/kernels/gemm_portable.hpp"
#include "engine/kernels/kernel_paths.hpp"
#include "engine/kernels/kernel_table.hpp"

namespace collm::engine {
const kernel_table kernels_portable = table_named("portable");
}
