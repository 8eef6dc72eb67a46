#include "engine/kernels/gemm_back_avx2.hpp"
#include "engine/kernels/training_table.hpp"

namespace collm::engine {
const training_table training_avx2 = training_table_named("avx2");
}
