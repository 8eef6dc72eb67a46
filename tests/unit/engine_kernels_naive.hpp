// Naive twins of the engine's kernels, in double where rounding is free: what the fast ones are
// compared with.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "engine/kernels/kernels.hpp"

namespace collm::engine::naive {

/// An int8 product with memory of its own.
struct product {
  std::vector<std::int8_t> w, tiles;  ///< w: [out, in]
  std::vector<std::uint32_t> index;
  std::vector<float> scale;
  std::vector<std::int32_t> correction;
  linear_s8 view;
};

inline product random_product(std::mt19937& random, std::uint32_t in, std::uint32_t out,
                              std::uint32_t hi) {
  product p;
  std::uniform_int_distribution<int> byte(-127, 127);
  p.w.resize(std::size_t{in} * out);
  for (auto& w : p.w) w = static_cast<std::int8_t>(byte(random));
  for (std::uint32_t j = 0; j < hi; ++j) p.index.push_back(j * in / hi);
  p.view = {.in = in, .out = out, .hi = hi};
  if (p.view.whole()) p.view.hi_shift = whole_shift(in);
  p.tiles.resize(p.view.tiles_count() * p.view.tile_bytes());
  p.correction.resize(std::size_t{p.view.tiles_count()} * tile_outputs);
  p.scale.resize(p.correction.size());
  for (std::uint32_t o = 0; o < out; ++o) {
    const std::int8_t* row = p.w.data() + std::size_t{o} * in;
    for (std::uint32_t k = 0; k < in; ++k) {
      p.tiles[p.view.at(o, k)] = row[k];
      p.correction[o] += 128 * row[k];
    }
    for (std::uint32_t j = 0; j < hi; ++j) {
      p.tiles[p.view.at_hi(o, j)] = row[p.index[j]];
      p.correction[o] += (128 << p.view.hi_shift) * row[p.index[j]];
    }
    p.scale[o] = 0.001f * static_cast<float>(1 + o % 7);
  }
  p.view.tiles = p.tiles.data();
  p.view.hi_index = p.index.data();
  p.view.scale = p.scale.data();
  p.view.correction = p.correction.data();
  return p;
}

/// Quantised rows with memory of their own.
struct activations {
  activations(std::uint32_t rows, std::uint32_t in, std::uint32_t hi) : scales(rows) {
    const std::size_t panels = (rows + panel_rows - 1) / panel_rows;
    view.lo_stride = panel_rows * ((in + 63) / 64 * 64);
    view.hi_stride = panel_rows * ((hi + 63) / 64 * 64);
    lo.assign(panels * view.lo_stride, 0xee);  // padding must not matter
    hi_bytes.assign(panels * view.hi_stride, 0xdd);
    view.lo = lo.data();
    view.hi = hi_bytes.data();
    view.scale = scales.data();
  }
  std::vector<std::uint8_t> lo, hi_bytes;
  std::vector<float> scales;
  quantised_rows view;
};

inline std::vector<float> random_floats(std::mt19937& random, std::size_t n, float spread = 1.0f) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> v(n);
  for (auto& x : v) x = normal(random);
  return v;
}

/// What a row's integers stand for: lo, plus 128 hi at the outliers.
inline double activation(const activations& x, const linear_s8& w, std::uint32_t row,
                         std::uint32_t k) {
  const auto byte = [](const std::uint8_t* of_row, std::uint32_t at) {
    return static_cast<double>(of_row[at / group_inputs * panel_bytes + at % group_inputs]) - 128;
  };
  double q = byte(x.view.lo_row(row), k);
  for (std::uint32_t j = 0; j < w.hi; ++j)
    if (w.hi_index[j] == k) q += (1 << w.hi_shift) * byte(x.view.hi_row(row), j);
  return q * static_cast<double>(x.scales[row]);
}

inline double product_at(const activations& x, const product& p, std::uint32_t row,
                         std::uint32_t o) {
  double total = 0;
  for (std::uint32_t k = 0; k < p.view.in; ++k)
    total += activation(x, p.view, row, k) * p.w[std::size_t{o} * p.view.in + k];
  return total * static_cast<double>(p.scale[o]);
}

/// Attention of one (row, head) over plain [position][head_dim] keys and values.
inline std::vector<double> attention(const float* q, const std::vector<std::vector<float>>& keys,
                                     const std::vector<std::vector<float>>& values,
                                     std::uint32_t seen, std::uint32_t window = 0) {
  const std::size_t dim = keys[0].size();
  std::vector<double> weights, out(dim, 0.0);
  double total = 0;
  const std::uint32_t oldest = window == 0 || seen < window ? 0 : seen - window;
  for (std::uint32_t p = oldest; p < seen; ++p) {
    double score = 0;
    for (std::size_t d = 0; d < dim; ++d)
      score += static_cast<double>(q[d]) * static_cast<double>(keys[p][d]);
    weights.push_back(std::exp(score / std::sqrt(static_cast<double>(dim))));
    total += weights.back();
  }
  for (std::uint32_t p = oldest; p < seen; ++p)
    for (std::size_t d = 0; d < dim; ++d)
      out[d] += weights[p - oldest] / total * static_cast<double>(values[p][d]);
  return out;
}

}  // namespace collm::engine::naive
