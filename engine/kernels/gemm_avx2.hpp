// int8 product with AVX2: bytes widened to 16 bits, since vpmaddubsw would saturate. Included by
// kernels_avx2.cpp.
#pragma once

#include <immintrin.h>

#include "engine/kernels/wide_tile.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t quarters = 4;  ///< of a tile: four outputs of four inputs, widened

/// sums[r][q]: two partial sums for each output of quarter q.
template <std::uint32_t Rows>
void accumulate(const std::uint8_t* x, const std::int8_t* w, std::uint32_t groups,
                __m256i (&sums)[Rows][quarters]) {
  for (std::uint32_t g = 0; g < groups; ++g) {
    const auto* sixteen = reinterpret_cast<const __m128i*>(w + std::size_t{g} * group_bytes);
    __m256i right[quarters];
    for (std::uint32_t q = 0; q < quarters; ++q)
      right[q] = _mm256_cvtepi8_epi16(_mm_loadu_si128(sixteen + q));
    for (std::uint32_t r = 0; r < Rows; ++r) {
      std::int32_t four;
      __builtin_memcpy(&four, x + std::size_t{g} * panel_bytes + r * group_inputs, 4);
      const __m256i left = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
      for (std::uint32_t q = 0; q < quarters; ++q)
        sums[r][q] = _mm256_add_epi32(sums[r][q], _mm256_madd_epi16(left, right[q]));
    }
  }
}

template <std::uint32_t Rows>
void product_tile(const quantised_rows& x, std::uint32_t row, const linear_s8& w,
                  const std::int8_t* tile, std::uint32_t o, std::uint32_t last, float* y,
                  std::size_t y_stride) {
  __m256i sums[Rows][quarters];
  for (auto& of_row : sums)
    for (auto& s : of_row) s = _mm256_setzero_si256();
  const std::uint32_t panel = row / panel_rows, within = row % panel_rows * group_inputs;
  accumulate(x.hi + panel * x.hi_stride + within, tile, w.hi_groups(), sums);
  for (auto& of_row : sums)
    for (auto& s : of_row) s = _mm256_slli_epi32(s, static_cast<int>(w.hi_shift));
  accumulate(x.lo + panel * x.lo_stride + within, tile + w.hi_bytes(), w.groups(), sums);
  for (std::uint32_t r = 0; r < Rows; ++r) {
    alignas(32) std::uint32_t halves[2 * tile_outputs];  // unsigned: may wrap
    for (std::uint32_t q = 0; q < quarters; ++q)
      _mm256_store_si256(reinterpret_cast<__m256i*>(halves + 8 * q), sums[r][q]);
    float* to = y + (row + r) * y_stride;
    for (std::uint32_t i = 0; i < tile_outputs && o + i < last; ++i)
      to[o + i] = static_cast<float>(
                      static_cast<std::int32_t>(halves[2 * i] + halves[2 * i + 1] -
                                                static_cast<std::uint32_t>(w.correction[o + i]))) *
                  w.scale[o + i] * x.scale[row + r];
  }
}

void gemm(const quantised_rows& x, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
          std::uint32_t last, float* y, std::size_t y_stride) {
  for (std::uint32_t o = first; o < last; o += tile_outputs) {
    const std::int8_t* tile = wide_tile(w, o / tile_outputs);
    std::uint32_t r = 0;
    for (; r + 2 <= rows; r += 2) product_tile<2>(x, r, w, tile, o, last, y, y_stride);
    if (r < rows) product_tile<1>(x, r, w, tile, o, last, y, y_stride);
  }
}

}  // namespace
}  // namespace collm::engine
