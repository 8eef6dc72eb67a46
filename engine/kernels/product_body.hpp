// Dense products of floats, written once over lanes. Every number is one chain of fused steps over
// ascending k, so the shape of the tiles does not show. Included by training_<path>.cpp.
#pragma once

#include "engine/kernels/lanes.hpp"
#include "engine/kernels/training_kernels.hpp"
#include "engine/kernels/unroll.hpp"

namespace collm::engine {
namespace {

// What fits into the registers of the path: sums, one row of b, one number of a.
#if defined(__AVX512F__)
constexpr std::uint32_t tile_rows = 8, tile_vectors = 3;
#else
constexpr std::uint32_t tile_rows = 4, tile_vectors = 1;
#endif

/// Half the lanes, for the eight columns that a factor of rank 8 has: on sixteen, half the work
/// would be thrown away.
#if defined(__AVX2__)
struct half_lanes {
  static constexpr std::uint32_t count = lane_count / 2;
  __m256 v;
  static half_lanes all(float x) { return {_mm256_set1_ps(x)}; }
  static half_lanes load(const float* p) { return {_mm256_loadu_ps(p)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
};
inline half_lanes fma(half_lanes a, half_lanes b, half_lanes c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
#else
struct half_lanes {
  static constexpr std::uint32_t count = lane_count / 2;
  float v[count];
  static half_lanes all(float x) {
    half_lanes r;
    for (float& e : r.v) e = x;
    return r;
  }
  static half_lanes load(const float* p) {
    half_lanes r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  void store(float* p) const { std::memcpy(p, v, sizeof v); }
};
inline half_lanes fma(half_lanes a, half_lanes b, half_lanes c) {
  for (std::uint32_t i = 0; i < half_lanes::count; ++i) c.v[i] = std::fma(a.v[i], b.v[i], c.v[i]);
  return c;
}
#endif

/// Rows [i, i + Rows), the eight columns from j.
template <std::uint32_t Rows>
COLLM_TILE void narrow_tile(const float_product& p, std::uint32_t i, std::uint32_t j) {
  half_lanes sums[Rows];
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) sums[r] =
      p.add ? half_lanes::load(p.c + (i + r) * p.c_row + j) : half_lanes::all(0);
  const float* a = p.a + i * p.a_row;
  const float* b = p.b + j;
  for (std::uint32_t k = 0; k < p.depth; ++k, a += p.a_column, b += p.b_row) {
    const half_lanes right = half_lanes::load(b);
    COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) sums[r] =
        fma(half_lanes::all(a[r * p.a_row]), right, sums[r]);
  }
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) sums[r].store(p.c + (i + r) * p.c_row + j);
}

/// Rows [i, i + Rows), columns [j, j + 16 Vectors); of the last vector only `n`.
template <std::uint32_t Rows, std::uint32_t Vectors, bool Whole>
COLLM_TILE void product_tile(const float_product& p, std::uint32_t i, std::uint32_t j,
                             std::uint32_t n) {
  const auto load_part = [n](const float* from) {
    return Whole ? lanes::load(from) : lanes::load(from, n);
  };
  lanes sums[Rows][Vectors];
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r)
      COLLM_UNROLL for (std::uint32_t v = 0; v < Vectors; ++v) sums[r][v] =
          p.add ? load_part(p.c + (i + r) * p.c_row + j + v * lane_count) : lanes::all(0);
  const float* a = p.a + i * p.a_row;
  const float* b = p.b + j;
  for (std::uint32_t k = 0; k < p.depth; ++k, a += p.a_column, b += p.b_row) {
    lanes right[Vectors];
    COLLM_UNROLL for (std::uint32_t v = 0; v < Vectors; ++v) right[v] =
        load_part(b + v * lane_count);
    COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r) {
      const lanes left = lanes::all(a[r * p.a_row]);
      COLLM_UNROLL for (std::uint32_t v = 0; v < Vectors; ++v) sums[r][v] =
          fma(left, right[v], sums[r][v]);
    }
  }
  COLLM_UNROLL for (std::uint32_t r = 0; r < Rows; ++r)
      COLLM_UNROLL for (std::uint32_t v = 0; v < Vectors; ++v) {
    float* to = p.c + (i + r) * p.c_row + j + v * lane_count;
    if (Whole)
      sums[r][v].store(to);
    else
      sums[r][v].store(to, n);
  }
}

template <std::uint32_t Rows>
void product_rows(const float_product& p, std::uint32_t i) {
  constexpr std::uint32_t wide = tile_vectors * lane_count;
  std::uint32_t j = 0;
  for (; j + wide <= p.columns; j += wide) product_tile<Rows, tile_vectors, true>(p, i, j, 0);
  for (; j + lane_count <= p.columns; j += lane_count) product_tile<Rows, 1, true>(p, i, j, 0);
  if (j + half_lanes::count <= p.columns) narrow_tile<Rows>(p, i, j), j += half_lanes::count;
  if (j < p.columns) product_tile<Rows, 1, false>(p, i, j, p.columns - j);
}

void product(const float_product& p) {
  std::uint32_t i = 0;
  for (; i + tile_rows <= p.rows; i += tile_rows) product_rows<tile_rows>(p, i);
  if (i + 4 <= p.rows) product_rows<4>(p, i), i += 4;
  for (; i < p.rows; ++i) product_rows<1>(p, i);
}

}  // namespace
}  // namespace collm::engine
