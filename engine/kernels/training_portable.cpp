#include "engine/kernels/gemm_back_portable.hpp"
#include "engine/kernels/training_table.hpp"

namespace collm::engine {
const training_table training_portable = training_table_named("portable");
}
