// int8 product with AVX2. Included by kernels_avx2.cpp.
#pragma once

#include "engine/kernels/sixteen_bit_avx2.hpp"
#include "engine/kernels/wide_tile.hpp"

namespace collm::engine {
namespace {

/// Rows from which on it pays to widen a tile before they pass.
constexpr std::uint32_t widened_rows = 4;

void widen_weights(const std::int8_t* w, std::size_t bytes, std::int16_t* to) {
  for (std::size_t i = 0; i < bytes; i += 16)
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + i), sixteen_weights(w + i));
}

/// Numbers of one panel of widened rows: its groups of high bits, then all.
std::size_t panel_numbers(const linear_s8& w) {
  return std::size_t{w.hi_groups() + w.groups()} * panel_bytes;
}

/// This thread's memory for one product: the rows that pass together and a tile in 16 bits, and the
/// tile's bytes where it lies in four bits.
struct product_scratch {
  std::int16_t *rows, *tile;
  std::int8_t* bytes;
};

product_scratch scratch_for(const linear_s8& w, std::uint32_t panels) {
  const std::size_t rows = panels * panel_numbers(w);
  const std::size_t tile =
      (w.wide_tile_bytes() + row_alignment - 1) / row_alignment * row_alignment;
  auto* const numbers = reinterpret_cast<std::int16_t*>(
      wide_tiles_scratch((rows + tile) * sizeof(std::int16_t) + (w.four_bit ? tile : 0)));
  return {numbers, numbers + rows, reinterpret_cast<std::int8_t*>(numbers + rows + tile)};
}

/// Where a product's outputs go.
struct gemm_target {
  std::uint32_t last;  ///< outputs end here
  float* y;            ///< of the first row
  std::size_t y_stride;
};

void store_outputs(const __m256i (&sums)[quarters], float row_scale, const linear_s8& w,
                   std::uint32_t o, std::uint32_t last, float* y) {
  const __m256 factor = _mm256_set1_ps(row_scale);
  alignas(32) float whole[tile_outputs];
  const bool all = last - o >= tile_outputs;
  float* to = all ? y + o : whole;
  COLLM_UNROLL for (std::uint32_t half = 0; half < 2; ++half) {
    const __m256 sum = _mm256_cvtepi32_ps(eight_sums(sums[2 * half], sums[2 * half + 1]));
    const __m256 scaled = _mm256_mul_ps(sum, _mm256_loadu_ps(w.scale + o + 8 * half));
    _mm256_storeu_ps(to + 8 * half, _mm256_mul_ps(scaled, factor));
  }
  if (!all) std::memcpy(y + o, whole, (last - o) * sizeof(float));
}

/// `Rows` rows from `x` on through one tile, whose outlier columns lie at `hi`.
template <std::uint32_t Rows, class Weight>
void product_tile(const std::int16_t* x, const float* scales, const linear_s8& w, const Weight* hi,
                  const Weight* lo, std::uint32_t o, const gemm_target& to, std::size_t row) {
  __m256i sums[Rows][quarters];
  clear(sums);
  accumulate(x, hi, w.hi_groups(), sums);
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(w.hi_shift));
  COLLM_UNROLL for (auto& of_row : sums) COLLM_UNROLL for (auto& s : of_row) s =
      _mm256_sll_epi32(s, shift);
  accumulate(x + std::size_t{w.hi_groups()} * panel_bytes, lo, w.groups(), sums);
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r)
      store_outputs(sums[r], scales[row + r], w, o, to.last, to.y + (row + r) * to.y_stride);
}

/// Rows [row, row + rows), widened, through one tile; `row` begins a panel.
template <class Weight>
void product_rows(const std::int16_t* wide, const float* scales, std::uint32_t row,
                  std::uint32_t rows, const linear_s8& w, const Weight* tile, std::uint32_t o,
                  const gemm_target& to) {
  over_rows(wide, panel_numbers(w), rows, [&](auto some, const std::int16_t* x, std::uint32_t r) {
    product_tile<some>(x, scales, w, tile, tile + w.hi_bytes(), o, to, row + r);
  });
}

void gemm(const quantised_rows& x, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
          std::uint32_t last, float* y, std::size_t y_stride) {
  const gemm_target to{last, y, y_stride};
  const std::uint32_t high = w.hi_groups(), most = panels_together(high + w.groups()) * panel_rows;
  for (std::uint32_t row = 0; row < rows; row += most) {
    const std::uint32_t now = std::min(most, rows - row),
                        panels = (now + panel_rows - 1) / panel_rows;
    const auto scratch = scratch_for(w, panels);
    for (std::uint32_t p = 0; p < panels; ++p) {
      std::int16_t* panel = scratch.rows + p * panel_numbers(w);
      widen_rows(x.hi_row(row + p * panel_rows), high, panel);
      widen_rows(x.lo_row(row + p * panel_rows), w.groups(),
                 panel + std::size_t{high} * panel_bytes);
    }
    for (std::uint32_t o = first; o < last; o += tile_outputs) {
      const std::int8_t* tile = wide_tile(w, o / tile_outputs, scratch.bytes);
      if (now < widened_rows) {
        product_rows(scratch.rows, x.scale, row, now, w, tile, o, to);
      } else {
        widen_weights(tile, w.wide_tile_bytes(), scratch.tile);
        product_rows(scratch.rows, x.scale, row, now, w, scratch.tile, o, to);
      }
    }
  }
}

}  // namespace
}  // namespace collm::engine
