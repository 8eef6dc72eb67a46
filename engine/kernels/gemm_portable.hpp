// int8 product in plain C++: for machines without AVX2. Included by kernels_portable.cpp.
#pragma once

#include "engine/kernels/kernels.hpp"

namespace collm::engine {
namespace {

std::int32_t dot(const std::uint8_t* x, const std::int8_t* w, std::uint32_t n) {
  std::int32_t total = 0;
  for (std::uint32_t k = 0; k < n; ++k) total += x[k] * w[k];
  return total;
}

void gemm(const quantised_rows& x, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
          std::uint32_t last, float* y, std::size_t y_stride, std::uint8_t*) {
  for (std::uint32_t r = 0; r < rows; ++r)
    for (std::uint32_t o = first; o < last; ++o) {
      const std::int32_t high = dot(x.hi + r * x.hi_stride, w.w_hi + std::size_t{o} * w.hi, w.hi);
      const std::int32_t low = dot(x.lo + r * x.lo_stride, w.w + std::size_t{o} * w.in, w.in);
      const std::int32_t total = high * 128 + low - w.correction[o];
      y[r * y_stride + o] = static_cast<float>(total) * w.scale[o] * x.scale[r];
    }
}

}  // namespace
}  // namespace collm::engine
