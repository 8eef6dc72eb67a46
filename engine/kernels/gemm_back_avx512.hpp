// The product back through int8 tiles with AVX-512 VNNI. It contracts over outputs, so a block of
// 48 inputs by 512 outputs is turned once, in the first cache, by 4 x 4 byte transposes, and serves
// all rows: no second layout of the weights is kept. Included by training_avx512.cpp.
#pragma once

#include <immintrin.h>

#include "engine/kernels/four_bit_avx512.hpp"
#include "engine/kernels/training_kernels.hpp"
#include "engine/kernels/unroll.hpp"

namespace collm::engine {
namespace {

/// Sixteen inputs a vector; three vectors and four rows are twelve sums, as in the forward product.
constexpr std::uint32_t block_vectors = 3, vector_inputs = 16;
constexpr std::uint32_t cached_stretches = 32;

/// Weights of one block, turned: [group of 4 outputs][vector][16 inputs][4 outputs], and what the
/// bias of the gradients adds to each sum.
struct turned_block {
  alignas(64) std::int8_t weights[stretch_groups * block_vectors * group_bytes];
  __m512i correction[block_vectors];
};

/// Four groups of four inputs of a tile become, for each four of its outputs, sixteen inputs by
/// four outputs.
COLLM_TILE void turn(const __m512i (&groups)[4], __m512i (&to)[4]) {
  const __m512i bytes =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  __m512i v[4];
  COLLM_UNROLL for (std::uint32_t g = 0; g < 4; ++g) v[g] =
      _mm512_shuffle_epi8(groups[g], bytes);
  // 4 x 4 transpose of the 128-bit quarters
  const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44),
                b = _mm512_shuffle_i32x4(v[0], v[1], 0xee),
                c = _mm512_shuffle_i32x4(v[2], v[3], 0x44),
                d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
  to[0] = _mm512_shuffle_i32x4(a, c, 0x88);
  to[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
  to[2] = _mm512_shuffle_i32x4(b, d, 0x88);
  to[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

/// Turns `tiles` tiles from `tile` on, inputs from `first` on.
template <std::uint32_t Vectors>
void turn_block(const linear_s8& w, std::uint32_t tile, std::uint32_t tiles, std::uint32_t first,
                turned_block& to) {
  const __m512i bias = _mm512_set1_epi8(static_cast<char>(128));
  COLLM_UNROLL for (auto& c : to.correction) c = _mm512_setzero_si512();
  const std::uint32_t group = first / group_inputs;
  for (std::uint32_t t = 0; t < tiles; ++t) {
    const std::int8_t* inputs = w.tile(tile + t) + w.hi_bytes();
    std::int8_t* at = to.weights + std::size_t{t} * 4 * Vectors * group_bytes;
    COLLM_UNROLL for (std::uint32_t v = 0; v < Vectors; ++v) {
      __m512i groups[4], turned[4];
      const std::uint32_t done = group + 4 * v;
      if (w.four_bit && w.groups() > done)
        four_bit_groups(inputs, done, groups);  // whole blocks, so all four are there
      else
        COLLM_UNROLL for (std::uint32_t g = 0; g < 4; ++g) groups[g] =
            done + g < w.groups()
                ? _mm512_loadu_si512(inputs + std::size_t{done + g} * group_bytes)
                : _mm512_setzero_si512();
      turn(groups, turned);
      COLLM_UNROLL for (std::uint32_t q = 0; q < 4; ++q) {
        _mm512_store_si512(at + (q * Vectors + v) * group_bytes, turned[q]);
        to.correction[v] = _mm512_dpbusd_epi32(to.correction[v], bias, turned[q]);
      }
    }
  }
}

/// Where a block's results go.
struct back_target {
  std::uint32_t last;  ///< inputs end here
  float* dx;
  std::size_t stride;
  bool add;  ///< to what earlier stretches gave
};

template <std::uint32_t Rows, std::uint32_t Vectors>
void panel_back(const gradient_rows& dy, std::uint32_t panel, std::uint32_t stretch,
                std::uint32_t groups, const turned_block& block, std::uint32_t first,
                const back_target& to) {
  __m512i sums[Rows][Vectors];
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r)
      COLLM_UNROLL for (std::uint32_t v = 0; v < Vectors; ++v) sums[r][v] = _mm512_setzero_si512();
  const std::uint8_t* x =
      dy.bytes + panel * dy.panel_stride + std::size_t{stretch} * stretch_groups * panel_bytes;
  const std::int8_t* w = block.weights;
  for (std::uint32_t g = 0; g < groups; ++g, w += Vectors * group_bytes, x += panel_bytes) {
    __m512i right[Vectors];
    COLLM_UNROLL for (std::uint32_t v = 0; v < Vectors; ++v) right[v] =
        _mm512_load_si512(w + v * group_bytes);
    COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) {
      std::int32_t four;
      __builtin_memcpy(&four, x + r * group_inputs, 4);
      const __m512i left = _mm512_set1_epi32(four);
      COLLM_UNROLL for (std::uint32_t v = 0; v < Vectors; ++v) sums[r][v] =
          _mm512_dpbusd_epi32(sums[r][v], left, right[v]);
    }
  }
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) {
    const std::size_t row = std::size_t{panel} * panel_rows + r;
    const __m512 scale = _mm512_set1_ps(dy.scale[row * dy.scale_stride + stretch]);
    COLLM_UNROLL for (std::uint32_t v = 0; v < Vectors; ++v) {
      const std::uint32_t k = first + v * vector_inputs, left = to.last > k ? to.last - k : 0;
      const auto mask = left >= vector_inputs ? static_cast<__mmask16>(0xffff)
                                              : static_cast<__mmask16>((1u << left) - 1u);
      float* at = to.dx + row * to.stride + k;
      const __m512 before = to.add ? _mm512_maskz_loadu_ps(mask, at) : _mm512_setzero_ps();
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[r][v], block.correction[v]));
      _mm512_mask_storeu_ps(at, mask, _mm512_fmadd_ps(sum, scale, before));
    }
  }
}

/// All rows through inputs [first, first + 16 Vectors) and stretches [s, end).
template <std::uint32_t Vectors>
void block_back(const gradient_rows& dy, std::uint32_t rows, const linear_s8& w,
                std::uint32_t first, std::uint32_t s, std::uint32_t end, back_target to) {
  turned_block block;
  constexpr std::uint32_t tiles_most = stretch_outputs / tile_outputs;
  for (; s < end; ++s) {
    const std::uint32_t tile = s * tiles_most, left = w.tiles_count() - tile,
                        tiles = left < tiles_most ? left : tiles_most;
    turn_block<Vectors>(w, tile, tiles, first, block);
    const std::uint32_t groups = tiles * tile_outputs / group_inputs;
    to.add = s > 0;
    std::uint32_t panel = 0;
    for (; (panel + 1) * panel_rows <= rows; ++panel)
      panel_back<4, Vectors>(dy, panel, s, groups, block, first, to);
    switch (rows - panel * panel_rows) {
      case 1:
        panel_back<1, Vectors>(dy, panel, s, groups, block, first, to);
        break;
      case 2:
        panel_back<2, Vectors>(dy, panel, s, groups, block, first, to);
        break;
      case 3:
        panel_back<3, Vectors>(dy, panel, s, groups, block, first, to);
        break;
      default:
        break;
    }
  }
}

void gemm_back(const gradient_rows& dy, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
               std::uint32_t last, float* dx, std::size_t dx_stride) {
  const back_target to{last, dx, dx_stride, false};
  constexpr std::uint32_t wide = block_vectors * vector_inputs;
  // A head's weights come from memory, so they pass once, stretch by stretch; a layer's lie in a
  // cache, so its sums had better stay.
  const std::uint32_t all = stretches(w.out), step = all > cached_stretches ? 1 : all;
  for (std::uint32_t s = 0; s < all; s += step) {
    std::uint32_t k = first;
    for (; k + wide <= last; k += wide) block_back<block_vectors>(dy, rows, w, k, s, s + step, to);
    for (; k < last; k += vector_inputs) block_back<1>(dy, rows, w, k, s, s + step, to);
  }
}

}  // namespace
}  // namespace collm::engine
