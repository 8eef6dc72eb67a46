// Dense products of floats, written once over lanes. Every number is one chain of fused steps over
// ascending k, so the shape of the tiles does not show. Included by training_<path>.cpp.
#pragma once

#include "engine/kernels/lanes.hpp"
#include "engine/kernels/training_kernels.hpp"

namespace collm::engine {
namespace {

#define COLLM_UNROLL _Pragma("GCC unroll 16")

// What fits into the registers of the path: sums, one row of b, one number of a.
#if defined(__AVX512F__)
constexpr std::uint32_t tile_rows = 8, tile_vectors = 2;
#else
constexpr std::uint32_t tile_rows = 4, tile_vectors = 1;
#endif

/// Rows [i, i + Rows), columns [j, j + 16 Vectors); of the last vector only `n`.
template <std::uint32_t Rows, std::uint32_t Vectors, bool Whole>
[[gnu::always_inline]] inline void product_tile(const float_product& p, std::uint32_t i,
                                                std::uint32_t j, std::uint32_t n) {
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
  if (j < p.columns) product_tile<Rows, 1, false>(p, i, j, p.columns - j);
}

void product(const float_product& p) {
  std::uint32_t i = 0;
  for (; i + tile_rows <= p.rows; i += tile_rows) product_rows<tile_rows>(p, i);
  if (i + 4 <= p.rows) product_rows<4>(p, i), i += 4;
  for (; i < p.rows; ++i) product_rows<1>(p, i);
}

#undef COLLM_UNROLL

}  // namespace
}  // namespace collm::engine
