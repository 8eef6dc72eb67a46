// int8 product with AVX-512 VNNI. Integer sums are exact in any order, so two shapes of tile may
// serve one product: few rows stream the weights once (dot); sixteen and more keep packed
// activations in registers and broadcast the weights (panel). Included by kernels_avx512.cpp.
#pragma once

#include <immintrin.h>

#include "engine/kernels/kernels.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t panel_rows = 16;

__m512i load_bytes(const void* p, std::uint32_t n) {
  return n >= 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8((1ull << n) - 1ull, p);
}

// The tiles' loops must be unrolled and inlined, or GCC 12 keeps the accumulators in memory
// (measured: 2.5 times slower).
#define COLLM_TILE [[gnu::always_inline]] inline
#define COLLM_UNROLL _Pragma("GCC unroll 16")

/// One step of 64 bytes: acc[r][c] += x row r . w row c.
template <std::uint32_t Rows, std::uint32_t Outs>
COLLM_TILE void dot_step(const std::uint8_t* x, std::size_t x_stride, const std::int8_t* w,
                         std::size_t w_stride, __mmask64 mask, __m512i (&acc)[Rows][Outs]) {
  __m512i left[Rows];
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) left[r] =
      _mm512_maskz_loadu_epi8(mask, x + r * x_stride);
  COLLM_UNROLL for (std::uint32_t c = 0; c < Outs; ++c) {
    const __m512i right = _mm512_maskz_loadu_epi8(mask, w + c * w_stride);
    COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) acc[r][c] =
        _mm512_dpbusd_epi32(acc[r][c], left[r], right);
  }
}

/// acc[r][c] += x row r . w row c over `n` bytes.
template <std::uint32_t Rows, std::uint32_t Outs>
COLLM_TILE void dot(const std::uint8_t* x, std::size_t x_stride, const std::int8_t* w,
                    std::uint32_t n, __m512i (&acc)[Rows][Outs]) {
  std::uint32_t k = 0;
  for (; k + 64 <= n; k += 64) dot_step<Rows, Outs>(x + k, x_stride, w + k, n, ~0ull, acc);
  if (k < n) dot_step<Rows, Outs>(x + k, x_stride, w + k, n, (1ull << (n - k)) - 1ull, acc);
}

template <std::uint32_t Rows, std::uint32_t Outs>
COLLM_TILE void clear(__m512i (&acc)[Rows][Outs]) {
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r)
      COLLM_UNROLL for (std::uint32_t c = 0; c < Outs; ++c) acc[r][c] = _mm512_setzero_si512();
}

/// The outliers' high parts count 128 times.
template <std::uint32_t Rows, std::uint32_t Outs>
COLLM_TILE void raise(__m512i (&acc)[Rows][Outs]) {
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r)
      COLLM_UNROLL for (std::uint32_t c = 0; c < Outs; ++c) acc[r][c] =
          _mm512_slli_epi32(acc[r][c], 7);
}

__m128i sum_four(const __m512i* a) {
  __m256i half[4];
  for (int i = 0; i < 4; ++i)
    half[i] = _mm256_add_epi32(_mm512_castsi512_si256(a[i]), _mm512_extracti64x4_epi64(a[i], 1));
  const __m256i all =
      _mm256_hadd_epi32(_mm256_hadd_epi32(half[0], half[1]), _mm256_hadd_epi32(half[2], half[3]));
  return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

template <std::uint32_t Rows, std::uint32_t Outs>
void dot_tile(const quantised_rows& x, std::uint32_t row, const linear_s8& w, std::uint32_t o,
              float* y, std::size_t y_stride) {
  __m512i acc[Rows][Outs];
  clear(acc);
  if (w.hi != 0) {
    dot<Rows, Outs>(x.hi + row * x.hi_stride, x.hi_stride, w.w_hi + std::size_t{o} * w.hi, w.hi,
                    acc);
    raise(acc);
  }
  dot<Rows, Outs>(x.lo + row * x.lo_stride, x.lo_stride, w.w + std::size_t{o} * w.in, w.in, acc);
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) {
    float* to = y + (row + r) * y_stride + o;
    const float scale = x.scale[row + r];
    if constexpr (Outs == 4) {
      const __m128i corrected = _mm_sub_epi32(
          sum_four(acc[r]), _mm_loadu_si128(reinterpret_cast<const __m128i*>(w.correction + o)));
      const __m128 scaled = _mm_mul_ps(_mm_cvtepi32_ps(corrected), _mm_loadu_ps(w.scale + o));
      _mm_storeu_ps(to, _mm_mul_ps(scaled, _mm_set1_ps(scale)));
    } else {
      for (std::uint32_t c = 0; c < Outs; ++c)
        to[c] = static_cast<float>(_mm512_reduce_add_epi32(acc[r][c]) - w.correction[o + c]) *
                w.scale[o + c] * scale;
    }
  }
}

template <std::uint32_t Rows>
void dot_rows(const quantised_rows& x, std::uint32_t row, const linear_s8& w, std::uint32_t first,
              std::uint32_t last, float* y, std::size_t y_stride) {
  std::uint32_t o = first;
  for (; o + 4 <= last; o += 4) dot_tile<Rows, 4>(x, row, w, o, y, y_stride);
  for (; o < last; ++o) dot_tile<Rows, 1>(x, row, w, o, y, y_stride);
}

COLLM_TILE void transpose(__m512i (&v)[16]) {
  __m512i t[16];
  COLLM_UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  COLLM_UNROLL for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  COLLM_UNROLL for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
  }
  COLLM_UNROLL for (int i = 0; i < 8; ++i) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

/// Sixteen rows of `n` bytes to [ceil(n/4)][16 rows][4 bytes]. Bytes beyond n are whatever the
/// padded row holds.
void pack_panel(const std::uint8_t* x, std::size_t stride, std::uint32_t n, std::uint8_t* to) {
  for (std::uint32_t k = 0; k < n; k += 64) {
    __m512i v[16];
    for (std::uint32_t r = 0; r < 16; ++r) v[r] = load_bytes(x + r * stride + k, n - k);
    transpose(v);
    const std::uint32_t groups = n - k >= 64 ? 16 : (n - k) / 4;
    for (std::uint32_t g = 0; g < groups; ++g)
      _mm512_storeu_si512(to + std::size_t{k} * 16 + g * 64, v[g]);
  }
}

template <std::uint32_t Panels, std::uint32_t Outs>
COLLM_TILE void broadcast(const std::uint8_t* const* x, const std::int8_t* w, std::uint32_t n,
                          __m512i (&acc)[Panels][Outs]) {
  for (std::uint32_t k = 0; k < n; k += 4) {
    __m512i left[Panels];
    COLLM_UNROLL for (std::uint32_t p = 0; p < Panels; ++p) left[p] =
        _mm512_loadu_si512(x[p] + std::size_t{k} * 16);
    COLLM_UNROLL for (std::uint32_t c = 0; c < Outs; ++c) {
      std::int32_t four;
      __builtin_memcpy(&four, w + std::size_t{c} * n + k, 4);
      const __m512i right = _mm512_set1_epi32(four);
      COLLM_UNROLL for (std::uint32_t p = 0; p < Panels; ++p) acc[p][c] =
          _mm512_dpbusd_epi32(acc[p][c], left[p], right);
    }
  }
}

/// acc: one vector of sixteen rows for each of `Outs` outputs, to sixteen rows of y.
template <std::uint32_t Outs>
COLLM_TILE void store_panel(const __m512i (&acc)[Outs], const float* row_scale, const linear_s8& w,
                            std::uint32_t o, float* y, std::size_t y_stride) {
  const __m512 scales = _mm512_loadu_ps(row_scale);
  __m512i v[16];
  COLLM_UNROLL for (std::uint32_t c = 0; c < 16; ++c) {
    if (c >= Outs) {
      v[c] = _mm512_setzero_si512();
      continue;
    }
    const __m512i corrected = _mm512_sub_epi32(acc[c], _mm512_set1_epi32(w.correction[o + c]));
    const __m512 scaled =
        _mm512_mul_ps(_mm512_cvtepi32_ps(corrected), _mm512_set1_ps(w.scale[o + c]));
    v[c] = _mm512_castps_si512(_mm512_mul_ps(scaled, scales));
  }
  transpose(v);
  constexpr auto mask = static_cast<__mmask16>((1u << Outs) - 1u);
  for (std::uint32_t r = 0; r < 16; ++r)
    _mm512_mask_storeu_ps(y + r * y_stride, mask, _mm512_castsi512_ps(v[r]));
}

/// Panels of consecutive rows, packed one after the other.
struct packed_rows {
  const std::uint8_t *lo, *hi;
  std::size_t lo_bytes, hi_bytes;  ///< of one panel
  std::uint32_t first_row, panels;
};

template <std::uint32_t Panels, std::uint32_t Outs>
void panel_tile(const packed_rows& packed, std::uint32_t panel, const quantised_rows& x,
                const linear_s8& w, std::uint32_t o, float* y, std::size_t y_stride) {
  const std::uint8_t *lo[Panels], *hi[Panels];
  COLLM_UNROLL for (std::uint32_t p = 0; p < Panels; ++p) {
    lo[p] = packed.lo + (panel + p) * packed.lo_bytes;
    hi[p] = packed.hi + (panel + p) * packed.hi_bytes;
  }
  __m512i acc[Panels][Outs];
  clear(acc);
  if (w.hi != 0) {
    broadcast<Panels, Outs>(hi, w.w_hi + std::size_t{o} * w.hi, w.hi, acc);
    raise(acc);
  }
  broadcast<Panels, Outs>(lo, w.w + std::size_t{o} * w.in, w.in, acc);
  COLLM_UNROLL for (std::uint32_t p = 0; p < Panels; ++p) {
    const std::uint32_t r = packed.first_row + (panel + p) * panel_rows;
    store_panel<Outs>(acc[p], x.scale + r, w, o, y + r * y_stride + o, y_stride);
  }
}

template <std::uint32_t Outs>
void panel_column(const packed_rows& packed, const quantised_rows& x, const linear_s8& w,
                  std::uint32_t o, float* y, std::size_t y_stride) {
  std::uint32_t p = 0;
  for (; p + 2 <= packed.panels; p += 2) panel_tile<2, Outs>(packed, p, x, w, o, y, y_stride);
  if (p < packed.panels) panel_tile<1, Outs>(packed, p, x, w, o, y, y_stride);
}

/// Up to gemm_panels_max panels against all outputs: each weight is fetched from memory once for
/// all of them.
void panel_block(const quantised_rows& x, std::uint32_t row, std::uint32_t panels,
                 const linear_s8& w, std::uint32_t first, std::uint32_t last, float* y,
                 std::size_t y_stride, std::uint8_t* scratch) {
  const std::size_t lo_bytes = std::size_t{w.in} * panel_rows,
                    hi_bytes = std::size_t{w.hi} * panel_rows;
  std::uint8_t* hi = scratch + panels * lo_bytes;
  for (std::uint32_t p = 0; p < panels; ++p) {
    const std::uint32_t r = row + p * panel_rows;
    pack_panel(x.lo + r * x.lo_stride, x.lo_stride, w.in, scratch + p * lo_bytes);
    pack_panel(x.hi + r * x.hi_stride, x.hi_stride, w.hi, hi + p * hi_bytes);
  }
  const packed_rows packed{scratch, hi, lo_bytes, hi_bytes, row, panels};
  std::uint32_t o = first;
  for (; o + 12 <= last; o += 12) panel_column<12>(packed, x, w, o, y, y_stride);
  for (; o + 4 <= last; o += 4) panel_column<4>(packed, x, w, o, y, y_stride);
  for (; o < last; ++o) panel_column<1>(packed, x, w, o, y, y_stride);
}

void gemm(const quantised_rows& x, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
          std::uint32_t last, float* y, std::size_t y_stride, std::uint8_t* scratch) {
  std::uint32_t r = 0;
  // With other widths a broadcast of four weights would cross into the next row.
  while (w.in % 4 == 0 && w.hi % 4 == 0 && rows - r >= panel_rows) {
    const std::uint32_t whole = (rows - r) / panel_rows,
                        panels = whole < gemm_panels_max ? whole : gemm_panels_max;
    panel_block(x, r, panels, w, first, last, y, y_stride, scratch);
    r += panels * panel_rows;
  }
  for (; r + 4 <= rows; r += 4) dot_rows<4>(x, r, w, first, last, y, y_stride);
  for (; r + 2 <= rows; r += 2) dot_rows<2>(x, r, w, first, last, y, y_stride);
  for (; r < rows; ++r) dot_rows<1>(x, r, w, first, last, y, y_stride);
}

#undef COLLM_TILE
#undef COLLM_UNROLL

}  // namespace
}  // namespace collm::engine
