// int8 product with AVX-512 VNNI: a block of weight tiles stays in the first caches while panels of
// rows pass by; sums stay in registers. Integer sums are exact in any order, so one row alone may
// take another tile shape than many. Included by kernels_avx512.cpp.
#pragma once

#include <immintrin.h>

#include <algorithm>

#include "engine/kernels/four_bit_avx512.hpp"
#include "engine/kernels/unroll.hpp"

namespace collm::engine {
namespace {

/// Tiles of one block: 4 rows x 3 tiles are 12 sums and 3 weights, the shape that GCC 12 keeps in
/// registers and that reaches most of the peak (measured: 413 Gop/s of 470).
constexpr std::uint32_t block_tiles = 3;

inline __m512i four_inputs(const std::uint8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_set1_epi32(four);
}

/// sums[r][t] += x row r . outputs of tile t over `groups` groups of inputs. Asks for the group
/// that lies `ahead` bytes behind each of the first tile: weights of the next block, from memory.
template <std::uint32_t Rows, std::uint32_t Tiles>
COLLM_TILE void accumulate(const std::uint8_t* x, const std::int8_t* w, std::size_t tile_bytes,
                           std::uint32_t groups, std::size_t ahead, __m512i (&sums)[Rows][Tiles]) {
  for (std::uint32_t g = 0; g < groups; ++g) {
    __builtin_prefetch(w + ahead + std::size_t{g} * group_bytes, 0, 2);
    __m512i right[Tiles];
    COLLM_UNROLL for (std::uint32_t t = 0; t < Tiles; ++t) right[t] =
        _mm512_loadu_si512(w + t * tile_bytes + std::size_t{g} * group_bytes);
    COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) {
      const __m512i left = four_inputs(x + std::size_t{g} * panel_bytes + r * group_inputs);
      COLLM_UNROLL for (std::uint32_t t = 0; t < Tiles; ++t) sums[r][t] =
          _mm512_dpbusd_epi32(sums[r][t], left, right[t]);
    }
  }
}

/// One row, one tile: four sums hide the instruction's latency.
COLLM_TILE void accumulate_alone(const std::uint8_t* x, const std::int8_t* w, std::uint32_t groups,
                                 __m512i (&sums)[4]) {
  std::uint32_t g = 0;
  for (; g + 4 <= groups; g += 4)
    COLLM_UNROLL for (std::uint32_t i = 0; i < 4; ++i) sums[i] =
        _mm512_dpbusd_epi32(sums[i], four_inputs(x + std::size_t{g + i} * panel_bytes),
                            _mm512_loadu_si512(w + std::size_t{g + i} * group_bytes));
  for (; g < groups; ++g)
    sums[0] = _mm512_dpbusd_epi32(sums[0], four_inputs(x + std::size_t{g} * panel_bytes),
                                  _mm512_loadu_si512(w + std::size_t{g} * group_bytes));
}

COLLM_TILE void store_outputs(__m512i sum, float row_scale, const linear_s8& w, std::uint32_t o,
                              std::uint32_t last, float* y) {
  const __m512i corrected = _mm512_sub_epi32(sum, _mm512_loadu_si512(w.correction + o));
  const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(corrected), _mm512_loadu_ps(w.scale + o));
  const auto mask = last - o >= tile_outputs ? static_cast<__mmask16>(0xffff)
                                             : static_cast<__mmask16>((1u << (last - o)) - 1u);
  _mm512_mask_storeu_ps(y + o, mask, _mm512_mul_ps(scaled, _mm512_set1_ps(row_scale)));
}

/// Where a product's outputs go.
struct gemm_target {
  std::uint32_t last;  ///< outputs end here
  float* y;
  std::size_t y_stride;
};

template <std::uint32_t Rows, std::uint32_t Tiles>
void product_tile(const quantised_rows& x, std::uint32_t panel, const linear_s8& w,
                  const std::int8_t* tiles, std::uint32_t o, const gemm_target& to) {
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(w.hi_shift));
  __m512i sums[Rows][Tiles];
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r)
      COLLM_UNROLL for (std::uint32_t t = 0; t < Tiles; ++t) sums[r][t] = _mm512_setzero_si512();
  // Panel p asks for tile p of the next block; later panels find it in the second cache.
  // (Widening has asked for those of four bits.)
  const std::size_t stride = w.wide_tile_bytes(),
                    ahead = panel < Tiles && !w.four_bit ? (Tiles + panel) * stride : 0;
  accumulate(x.hi + panel * x.hi_stride, tiles, stride, w.hi_groups(), ahead, sums);
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r)
      COLLM_UNROLL for (std::uint32_t t = 0; t < Tiles; ++t) sums[r][t] =
          _mm512_sll_epi32(sums[r][t], shift);
  accumulate(x.lo + panel * x.lo_stride, tiles + w.hi_bytes(), stride, w.groups(), ahead, sums);
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) {
    const std::uint32_t row = panel * panel_rows + r;
    COLLM_UNROLL for (std::uint32_t t = 0; t < Tiles; ++t) store_outputs(
        sums[r][t], x.scale[row], w, o + t * tile_outputs, to.last, to.y + row * to.y_stride);
  }
}

void product_alone(const quantised_rows& x, const linear_s8& w, const std::int8_t* tile,
                   std::uint32_t o, const gemm_target& to) {
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(w.hi_shift));
  __m512i sums[4];
  COLLM_UNROLL for (auto& s : sums) s = _mm512_setzero_si512();
  accumulate_alone(x.hi, tile, w.hi_groups(), sums);
  COLLM_UNROLL for (auto& s : sums) s = _mm512_sll_epi32(s, shift);
  accumulate_alone(x.lo, tile + w.hi_bytes(), w.groups(), sums);
  const __m512i sum =
      _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]), _mm512_add_epi32(sums[2], sums[3]));
  store_outputs(sum, x.scale[0], w, o, to.last, to.y);
}

void row_alone(const quantised_rows& x, const linear_s8& w, std::uint32_t first,
               const gemm_target& to) {
  for (std::uint32_t o = first; o < to.last; o += tile_outputs)
    product_alone(x, w, w.tile(o / tile_outputs), o, to);
}

/// sums[r] += row r . one group of one tile.
template <std::uint32_t Rows>
COLLM_TILE void add_group(const std::uint8_t* x, std::size_t panel_stride, __m512i weights,
                          __m512i (&sums)[Rows]) {
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) sums[r] = _mm512_dpbusd_epi32(
      sums[r], four_inputs(x + r / panel_rows * panel_stride + r % panel_rows * group_inputs),
      weights);
}

/// `rows` rows, of whole panels, through one tile of four bits that is widened in registers: the
/// products leave ports free for it. With all inputs whole, the high bits meet the same weights.
/// Asks for the tile after the next: from memory, outlier columns as well (measured: without, 16
/// rows take a quarter longer).
template <std::uint32_t Rows, bool Whole>
void product_four_bit(const quantised_rows& x, std::uint32_t rows, const linear_s8& w,
                      const std::int8_t* tile, std::uint32_t o, const gemm_target& to) {
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(w.hi_shift));
  const std::uint8_t *lo = x.lo, *hi = x.hi;
  __m512i sums[Rows], high[Whole ? Rows : 1];
  COLLM_UNROLL for (auto& s : sums) s = _mm512_setzero_si512();
  COLLM_UNROLL for (auto& s : high) s = _mm512_setzero_si512();
  const std::size_t ahead = 2 * w.tile_bytes();
  if (!Whole) {
    for (std::uint32_t g = 0; g < w.hi_groups(); ++g) {
      const std::int8_t* group = tile + std::size_t{g} * group_bytes;
      __builtin_prefetch(group + ahead, 0, 2);
      add_group(hi + std::size_t{g} * panel_bytes, x.hi_stride, _mm512_loadu_si512(group), sums);
    }
    COLLM_UNROLL for (auto& s : sums) s = _mm512_sll_epi32(s, shift);
  }
  const std::int8_t* block = tile + w.hi_bytes();
  for (std::uint32_t k = 0; k < w.in; k += four_bit_inputs, block += four_bit_block_bytes) {
    const block_scales scales(block);
    __builtin_prefetch(block + ahead + four_bit_levels_bytes, 0, 2);
    COLLM_UNROLL for (std::uint32_t j = 0; j < 4; ++j) {
      __builtin_prefetch(block + ahead + j * group_bytes, 0, 2);
      const __m512i two = _mm512_loadu_si512(block + j * group_bytes);
      const __m512i weights[2] = {scales.low(two), scales.high(two)};
      COLLM_UNROLL for (std::uint32_t half = 0; half < 2; ++half) {
        const std::size_t at = (j + 4 * half) * panel_bytes;
        add_group(lo + at, x.lo_stride, weights[half], sums);
        if constexpr (Whole) add_group(hi + at, x.hi_stride, weights[half], high);
      }
    }
    lo += 8 * panel_bytes, hi += 8 * panel_bytes;
  }
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) {
    if (r >= rows) return;
    if constexpr (Whole) sums[r] = _mm512_add_epi32(sums[r], _mm512_sll_epi32(high[r], shift));
    store_outputs(sums[r], x.scale[r], w, o, to.last, to.y + r * to.y_stride);
  }
}

/// Sums that product_four_bit keeps in registers; more rows had better share widened tiles.
constexpr std::uint32_t four_bit_sums = 16;

bool few_rows(std::uint32_t rows, const linear_s8& w) {
  return rows * (w.whole() ? 2 : 1) <= four_bit_sums;
}

template <bool Whole>
void few_rows_four_bit(const quantised_rows& x, std::uint32_t rows, const linear_s8& w,
                       std::uint32_t first, const gemm_target& to) {
  constexpr std::uint32_t most = Whole ? four_bit_sums / 2 : four_bit_sums;
  const auto product = rows == 1    ? product_four_bit<1, Whole>
                       : rows <= 4  ? product_four_bit<4, Whole>
                       : rows <= 8  ? product_four_bit<8, Whole>
                       : rows <= 12 ? product_four_bit<std::min(12u, most), Whole>
                                    : product_four_bit<most, Whole>;
  for (std::uint32_t o = first; o < to.last; o += tile_outputs)
    product(x, rows, w, w.tile(o / tile_outputs), o, to);
}

/// All rows through one block of tiles.
template <std::uint32_t Tiles>
void product_block(const quantised_rows& x, std::uint32_t rows, const linear_s8& w,
                   const std::int8_t* tiles, std::uint32_t o, const gemm_target& to) {
  std::uint32_t panel = 0;
  for (; (panel + 1) * panel_rows <= rows; ++panel)
    product_tile<4, Tiles>(x, panel, w, tiles, o, to);
  switch (rows - panel * panel_rows) {
    case 1:
      return product_tile<1, Tiles>(x, panel, w, tiles, o, to);
    case 2:
      return product_tile<2, Tiles>(x, panel, w, tiles, o, to);
    case 3:
      return product_tile<3, Tiles>(x, panel, w, tiles, o, to);
    default:
      return;
  }
}

void gemm(const quantised_rows& x, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
          std::uint32_t last, float* y, std::size_t y_stride) {
  const gemm_target to{last, y, y_stride};
  if (w.four_bit && few_rows(rows, w))
    return (w.whole() ? few_rows_four_bit<true> : few_rows_four_bit<false>)(x, rows, w, first, to);
  if (rows == 1) return row_alone(x, w, first, to);
  const auto tiles = [&w](std::uint32_t o, std::uint32_t count) {
    const std::uint32_t index = o / tile_outputs;
    return w.four_bit ? widen_tiles(w, index, count) : w.tile(index);
  };
  constexpr std::uint32_t wide = block_tiles * tile_outputs;
  std::uint32_t o = first;
  for (; o + wide <= last; o += wide)
    product_block<block_tiles>(x, rows, w, tiles(o, block_tiles), o, to);
  for (; o < last; o += tile_outputs) product_block<1>(x, rows, w, tiles(o, 1), o, to);
}

}  // namespace
}  // namespace collm::engine
