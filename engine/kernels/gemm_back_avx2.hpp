// The product back through int8 tiles with AVX2. It contracts over outputs, so a block of 16 inputs
// by 512 outputs is turned once, in the first cache, by 4 x 4 byte transposes, and serves all rows.
// Included by training_avx2.cpp.
#pragma once

#include "engine/kernels/sixteen_bit_avx2.hpp"
#include "engine/kernels/training_kernels.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t vector_inputs = 16;

/// Groups [first, first + 4) of a tile's inputs: where they lie, or put together in `to`.
const std::int8_t* four_groups(const linear_s8& w, std::uint32_t tile, std::uint32_t first,
                               std::int8_t (&to)[4 * group_bytes]) {
  if (!w.four_bit && first + 4 <= w.groups())
    return w.tile(tile) + w.hi_bytes() + std::size_t{first} * group_bytes;
  for (std::uint32_t i = 0; i < 4 * group_bytes; ++i) {
    const std::uint32_t group = first + i / group_bytes, within = i % group_bytes;
    to[i] = group < w.groups() ? w.weight(tile * tile_outputs + within / group_inputs,
                                          group * group_inputs + within % group_inputs)
                               : std::int8_t{0};
  }
  return to;
}

/// Turns `tiles` tiles from `tile` on, inputs from group `first` on: [group of 4 outputs][16
/// inputs][4 outputs], in 16 bits.
void turn_block(const linear_s8& w, std::uint32_t tile, std::uint32_t tiles, std::uint32_t first,
                std::int16_t* to) {
  const __m128i transpose = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (std::uint32_t t = 0; t < tiles; ++t) {
    std::int8_t some[4 * group_bytes];
    const std::int8_t* groups = four_groups(w, tile + t, first, some);
    COLLM_UNROLL for (std::uint32_t q = 0; q < quarters; ++q)
        COLLM_UNROLL for (std::uint32_t g = 0; g < 4; ++g) {
      const auto four = _mm_loadu_si128(
          reinterpret_cast<const __m128i*>(groups + g * group_bytes + q * group_bytes / quarters));
      _mm256_store_si256(reinterpret_cast<__m256i*>(to),
                         _mm256_cvtepi8_epi16(_mm_shuffle_epi8(four, transpose)));
      to += group_bytes / quarters;
    }
  }
}

/// Where a block's results go: inputs [k, last) of dx.
struct back_target {
  std::uint32_t k, last;
  float* dx;
  std::size_t stride;
  bool add;  ///< to what earlier stretches gave
};

/// sum * scale, on top of what is there.
COLLM_TILE void add_inputs(const __m256i (&sums)[quarters], float row_scale, const back_target& to,
                           std::size_t row) {
  float* at = to.dx + row * to.stride + to.k;
  const std::uint32_t left = to.last - to.k;
  alignas(32) float whole[vector_inputs] = {};
  float* some = left >= vector_inputs ? at : whole;
  if (some == whole && to.add) std::memcpy(whole, at, left * sizeof(float));
  COLLM_UNROLL for (std::uint32_t half = 0; half < 2; ++half) {
    const __m256 sum = _mm256_cvtepi32_ps(eight_sums(sums[2 * half], sums[2 * half + 1]));
    const __m256 before = to.add ? _mm256_loadu_ps(some + 8 * half) : _mm256_setzero_ps();
    _mm256_storeu_ps(some + 8 * half, _mm256_fmadd_ps(sum, _mm256_set1_ps(row_scale), before));
  }
  if (some == whole) std::memcpy(at, whole, left * sizeof(float));
}

template <std::uint32_t Rows>
void rows_back(const std::int16_t* x, const float* scale, std::size_t scale_stride,
               const std::int16_t* block, std::uint32_t groups, const back_target& to,
               std::size_t row) {
  __m256i sums[Rows][quarters];
  clear(sums);
  accumulate(x, block, groups, sums);
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r)
      add_inputs(sums[r], scale[(row + r) * scale_stride], to, row + r);
}

/// All inputs of rows [row, row + rows), `row` beginning a panel, from stretch `s`.
void stretch_back(const gradient_rows& dy, std::uint32_t row, std::uint32_t rows, std::uint32_t s,
                  const linear_s8& w, std::uint32_t first, back_target to) {
  constexpr std::uint32_t tiles_most = stretch_outputs / tile_outputs,
                          panel_numbers = stretch_groups * panel_bytes;
  const std::uint32_t tile = s * tiles_most, tiles = std::min(tiles_most, w.tiles_count() - tile),
                      groups = tiles * tile_outputs / group_inputs,
                      panels = (rows + panel_rows - 1) / panel_rows;
  auto* const wide = reinterpret_cast<std::int16_t*>(
      wide_tiles_scratch(panels * panel_numbers * sizeof(std::int16_t)));
  for (std::uint32_t p = 0; p < panels; ++p)
    widen_rows(dy.bytes + (row / panel_rows + p) * dy.panel_stride +
                   std::size_t{s} * stretch_groups * panel_bytes,
               groups, wide + p * panel_numbers);
  alignas(64) std::int16_t block[stretch_groups * group_bytes];
  to.add = s > 0;
  for (to.k = first; to.k < to.last; to.k += vector_inputs) {
    turn_block(w, tile, tiles, to.k / group_inputs, block);
    over_rows(wide, panel_numbers, rows, [&](auto some, const std::int16_t* x, std::uint32_t r) {
      rows_back<some>(x, dy.scale + s, dy.scale_stride, block, groups, to, row + r);
    });
  }
}

void gemm_back(const gradient_rows& dy, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
               std::uint32_t last, float* dx, std::size_t dx_stride) {
  const std::uint32_t most = panels_together(stretch_groups) * panel_rows;
  for (std::uint32_t row = 0; row < rows; row += most)
    for (std::uint32_t s = 0; s < stretches(w.out); ++s)
      stretch_back(dy, row, std::min(most, rows - row), s, w, first,
                   {first, last, dx, dx_stride, false});
}

}  // namespace
}  // namespace collm::engine
