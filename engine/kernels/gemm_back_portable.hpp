// Sums of the product back in plain C++. Included by training_portable.cpp.
#pragma once

#include "engine/kernels/gemm_back_body.hpp"

namespace collm::engine {
namespace {

void accumulate_back(const std::uint8_t* x, const std::int8_t* weights, std::uint32_t groups,
                     std::uint32_t (&sums)[vector_inputs]) {
  for (auto& s : sums) s = 0;
  for (std::uint32_t g = 0; g < groups; ++g, x += panel_bytes, weights += group_bytes)
    for (std::uint32_t i = 0; i < vector_inputs; ++i)
      for (std::uint32_t o = 0; o < group_inputs; ++o)
        sums[i] += static_cast<std::uint32_t>(x[o] * weights[i * group_inputs + o]);
}

}  // namespace
}  // namespace collm::engine
