#include "engine/kernels/gemm_back_avx512.hpp"
#include "engine/kernels/training_table.hpp"

namespace collm::engine {
const training_table training_avx512 = training_table_named("avx512-vnni");
}
