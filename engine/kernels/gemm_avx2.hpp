// int8 product with AVX2: bytes widened to 16 bits, since vpmaddubsw would saturate. Included by
// kernels_avx2.cpp.
#pragma once

#include <immintrin.h>

#include "engine/kernels/kernels.hpp"

namespace collm::engine {
namespace {

std::int32_t sum_lanes(__m256i a) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/// total[r] += x row r . w over `n` bytes.
template <std::uint32_t Rows>
void dot(const std::uint8_t* x, std::size_t x_stride, const std::int8_t* w, std::uint32_t n,
         std::int32_t (&total)[Rows]) {
  __m256i acc[Rows];
  for (auto& a : acc) a = _mm256_setzero_si256();
  std::uint32_t k = 0;
  for (; k + 16 <= n; k += 16) {
    const __m256i right =
        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w + k)));
    for (std::uint32_t r = 0; r < Rows; ++r) {
      const auto* bytes = reinterpret_cast<const __m128i*>(x + r * x_stride + k);
      const __m256i left = _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes));
      acc[r] = _mm256_add_epi32(acc[r], _mm256_madd_epi16(left, right));
    }
  }
  for (std::uint32_t r = 0; r < Rows; ++r) {
    total[r] += sum_lanes(acc[r]);
    for (std::uint32_t i = k; i < n; ++i) total[r] += x[r * x_stride + i] * w[i];
  }
}

template <std::uint32_t Rows>
void dot_rows(const quantised_rows& x, std::uint32_t row, const linear_s8& w, std::uint32_t first,
              std::uint32_t last, float* y, std::size_t y_stride) {
  for (std::uint32_t o = first; o < last; ++o) {
    std::int32_t total[Rows] = {};
    dot<Rows>(x.hi + row * x.hi_stride, x.hi_stride, w.w_hi + std::size_t{o} * w.hi, w.hi, total);
    for (auto& t : total) t *= 128;
    dot<Rows>(x.lo + row * x.lo_stride, x.lo_stride, w.w + std::size_t{o} * w.in, w.in, total);
    for (std::uint32_t r = 0; r < Rows; ++r)
      y[(row + r) * y_stride + o] =
          static_cast<float>(total[r] - w.correction[o]) * w.scale[o] * x.scale[row + r];
  }
}

void gemm(const quantised_rows& x, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
          std::uint32_t last, float* y, std::size_t y_stride, std::uint8_t*) {
  std::uint32_t r = 0;
  for (; r + 4 <= rows; r += 4) dot_rows<4>(x, r, w, first, last, y, y_stride);
  for (; r < rows; ++r) dot_rows<1>(x, r, w, first, last, y, y_stride);
}

}  // namespace
}  // namespace collm::engine
