// One table per instruction set; kernels.cpp chooses.
#pragma once

#include "engine/kernels/kernels.hpp"

namespace collm::engine {
extern const kernel_table kernels_avx512, kernels_avx2, kernels_portable;
}
