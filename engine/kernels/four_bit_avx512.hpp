// Weights of four bits with AVX-512: two groups of four inputs from one 64-byte load. Included by
// gemm_avx512.hpp and gemm_back_avx512.hpp.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "engine/kernels/kernels.hpp"

namespace collm::engine {
namespace {

/// Steps and least values of a block's sixteen outputs, one for each two of a group's bytes.
struct block_scales {
  [[gnu::always_inline]] explicit block_scales(const std::int8_t* block) {
    const __m512i pairs = _mm512_loadu_si512(block + four_bit_levels_bytes);
    steps = _mm512_shuffle_epi8(pairs, _mm512_broadcast_i32x4(_mm_setr_epi8(
                                           0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13)));
    least =
        _mm512_shuffle_epi8(pairs, _mm512_broadcast_i32x4(_mm_setr_epi8(
                                       2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15)));
  }
  /// Weights of the levels in the low halves of the bytes, and of those in the high halves.
  [[gnu::always_inline]] __m512i low(__m512i two) const {
    return weights(_mm512_and_si512(two, fifteen()),
                   _mm512_and_si512(_mm512_srli_epi16(two, 8), fifteen()));
  }
  [[gnu::always_inline]] __m512i high(__m512i two) const {
    return weights(_mm512_and_si512(_mm512_srli_epi16(two, 4), fifteen()),
                   _mm512_srli_epi16(two, 12));
  }
  __m512i steps, least;

 private:
  [[gnu::always_inline]] static __m512i fifteen() { return _mm512_set1_epi16(15); }
  /// Of levels in 16 bits.
  [[gnu::always_inline]] __m512i weights(__m512i even, __m512i odd) const {
    return _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaaull, _mm512_srli_epi16(sum(even), 8), sum(odd));
  }
  [[gnu::always_inline]] __m512i sum(__m512i levels) const {
    return _mm512_add_epi16(_mm512_mullo_epi16(levels, steps), least);
  }
};

/// Groups [first, first + 4) of a tile's inputs, whose blocks of four bits begin at `blocks`; first
/// is a multiple of 4, so they lie in one half of a block.
[[gnu::always_inline]] inline void four_bit_groups(const std::int8_t* blocks, std::uint32_t first,
                                                   __m512i (&to)[4]) {
  const std::int8_t* block = blocks + std::size_t{first} / 8 * four_bit_block_bytes;
  const block_scales scales(block);
  const bool low = first % 8 == 0;
  for (std::uint32_t g = 0; g < 4; ++g) {
    const __m512i two = _mm512_loadu_si512(block + g * group_bytes);
    to[g] = low ? scales.low(two) : scales.high(two);
  }
}

/// Writes `count` tiles from `index` on with all weights in bytes; asks for those that follow.
inline const std::int8_t* widen_tiles(const linear_s8& w, std::uint32_t index,
                                      std::uint32_t count) {
  std::int8_t* const wide = wide_tiles_scratch(count * w.wide_tile_bytes());
  const std::size_t ahead = count * w.tile_bytes();
  std::int8_t* to = wide;
  for (std::uint32_t t = index; t < index + count; ++t) {
    const std::int8_t* from = w.tile(t);
    for (std::size_t at = 0; at < w.hi_bytes(); at += group_bytes) {
      __builtin_prefetch(from + ahead + at, 0, 2);
      _mm512_storeu_si512(to + at, _mm512_loadu_si512(from + at));
    }
    from += w.hi_bytes(), to += w.hi_bytes();
    for (std::uint32_t k = 0; k < w.in; k += four_bit_inputs, from += four_bit_block_bytes) {
      const block_scales scales(from);
      for (std::uint32_t j = 0; j < 4; ++j, to += group_bytes) {
        __builtin_prefetch(from + ahead + j * group_bytes, 0, 2);
        const __m512i two = _mm512_loadu_si512(from + j * group_bytes);
        _mm512_storeu_si512(to, scales.low(two));
        _mm512_storeu_si512(to + 4 * group_bytes, scales.high(two));
      }
      __builtin_prefetch(from + ahead + four_bit_levels_bytes, 0, 2);
      to += 4 * group_bytes;
    }
  }
  return wide;
}

}  // namespace
}  // namespace collm::engine
