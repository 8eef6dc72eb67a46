// Sums of int8 products with AVX2, forward and back: bytes are widened to 16 bits, since
// vpmaddubsw would saturate, each once for the many products that it is a part of. Integer sums are
// exact in any order. Included by gemm_avx2.hpp and gemm_back_avx2.hpp.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <type_traits>

#include "engine/kernels/kernels.hpp"
#include "engine/kernels/unroll.hpp"

namespace collm::engine {
namespace {

/// Vectors of a group of weights in 16 bits, four outputs each: [group][quarter][4 outputs][4].
constexpr std::uint32_t quarters = 4;
/// Rows that pass together: eight sums, four weights and two inputs stay in registers.
constexpr std::uint32_t rows_together = 2;
/// Of widened rows: they stay in the second cache while all weights pass by.
constexpr std::size_t rows_bytes_most = 128 << 10;

/// In a register from here on: GCC 12 otherwise loads weights anew for each row and moves every
/// sum.
COLLM_TILE __m256i kept(__m256i v) {
  asm("" : "+x"(v));
  return v;
}

COLLM_TILE __m256i sixteen_weights(const std::int8_t* w) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
}
COLLM_TILE __m256i sixteen_weights(const std::int16_t* w) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
}

/// A panel's groups in 16 bits, without the bias: [group][4 rows][4 inputs].
void widen_rows(const std::uint8_t* panel, std::uint32_t groups, std::int16_t* to) {
  const __m256i bias = _mm256_set1_epi16(128);
  for (std::size_t i = 0; i < std::size_t{groups} * panel_bytes; i += panel_bytes) {
    const auto biased = _mm_loadu_si128(reinterpret_cast<const __m128i*>(panel + i));
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + i),
                       _mm256_sub_epi16(_mm256_cvtepu8_epi16(biased), bias));
  }
}

/// Panels of rows whose `groups` groups are widened together.
constexpr std::uint32_t panels_together(std::uint32_t groups) {
  const std::size_t panel = std::size_t{groups} * panel_bytes * sizeof(std::int16_t);
  return std::max(1u,
                  static_cast<std::uint32_t>(rows_bytes_most / std::max<std::size_t>(1, panel)));
}

/// Calls f(how many together, as a constant; the first one's inputs; its number) for `rows` widened
/// rows, whose panels lie `panel` numbers apart.
template <class F>
COLLM_TILE void over_rows(const std::int16_t* wide, std::size_t panel, std::uint32_t rows, F&& f) {
  const auto inputs = [&](std::uint32_t r) {
    return wide + r / panel_rows * panel + r % panel_rows * group_inputs;
  };
  std::uint32_t r = 0;
  for (; r + rows_together <= rows; r += rows_together)
    f(std::integral_constant<std::uint32_t, rows_together>{}, inputs(r), r);
  if (r < rows) f(std::integral_constant<std::uint32_t, 1>{}, inputs(r), r);
}

template <std::uint32_t Rows>
COLLM_TILE void clear(__m256i (&sums)[Rows][quarters]) {
  COLLM_UNROLL for (auto& of_row : sums) COLLM_UNROLL for (auto& s : of_row) s =
      _mm256_setzero_si256();
}

/// sums[r][q]: two partial sums for each output of quarter q, of row r from `x` on. Weights are
/// bytes or widened.
template <std::uint32_t Rows, class Weight>
COLLM_TILE void accumulate(const std::int16_t* x, const Weight* w, std::uint32_t groups,
                           __m256i (&sums)[Rows][quarters]) {
  for (std::uint32_t g = 0; g < groups; ++g, x += panel_bytes, w += group_bytes) {
    __m256i right[quarters];
    COLLM_UNROLL for (std::uint32_t q = 0; q < quarters; ++q) right[q] =
        kept(sixteen_weights(w + q * group_bytes / quarters));
    COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) {
      long long four;
      __builtin_memcpy(&four, x + r * group_inputs, sizeof four);
      const __m256i left = _mm256_set1_epi64x(four);
      COLLM_UNROLL for (std::uint32_t q = 0; q < quarters; ++q) sums[r][q] =
          kept(_mm256_add_epi32(sums[r][q], _mm256_madd_epi16(left, right[q])));
    }
  }
}

/// Eight outputs' sums of two quarters.
COLLM_TILE __m256i eight_sums(__m256i low, __m256i high) {
  return _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0b11'01'10'00);
}

}  // namespace
}  // namespace collm::engine
