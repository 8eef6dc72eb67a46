// Naive twins of the engine's kernels, plain loops in double where rounding is free: what tests
// compare the fast ones with, and what kernels_bench shows beside them. Not part of the engine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
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

/// Random levels and scales in blocks of four bits at output o; the bytes that they stand for.
inline void random_four_bits(std::mt19937& random, product& p, std::uint32_t o) {
  std::uniform_int_distribution<int> least(-127, 127), level(0, 15);
  for (std::uint32_t k = 0; k < p.view.in; k += four_bit_inputs) {
    auto* block = p.tiles.data() + p.view.at_block(o, k);
    const int low = least(random), high = least(random);
    const four_bit_scale scale{static_cast<std::uint16_t>((high - low) * 256 / 15),
                               static_cast<std::uint16_t>(low * 256 + 128)};
    std::memcpy(block + four_bit_levels_bytes + o % tile_outputs * 4, &scale, sizeof scale);
    for (std::uint32_t i = 0; i < four_bit_inputs; ++i) {
      const auto chosen = static_cast<std::uint32_t>(level(random));
      auto& two = block[i / 4 % 4 * group_bytes + o % tile_outputs * 4 + i % 4];
      two = static_cast<std::int8_t>(two | static_cast<int>(chosen << (i < 16 ? 0 : 4)));
      p.w[std::size_t{o} * p.view.in + k + i] = static_cast<std::int8_t>(
          static_cast<std::int16_t>(scale.step * chosen + scale.least) >> 8);
    }
  }
}

inline product random_product(std::mt19937& random, std::uint32_t in, std::uint32_t out,
                              std::uint32_t hi, bool four_bit = false) {
  product p;
  std::uniform_int_distribution<int> byte(-127, 127);
  p.w.resize(std::size_t{in} * out);
  for (auto& w : p.w) w = static_cast<std::int8_t>(byte(random));
  for (std::uint32_t j = 0; j < hi; ++j) p.index.push_back(j * in / hi);
  p.view = {.in = in, .out = out, .hi = hi};
  if (p.view.whole()) p.view.hi_shift = whole_shift(in);
  p.view.four_bit = four_bit;
  p.tiles.resize(p.view.tiles_count() * p.view.tile_bytes());
  p.correction.resize(std::size_t{p.view.tiles_count()} * tile_outputs);
  p.scale.resize(p.correction.size());
  for (std::uint32_t o = 0; o < out; ++o) {
    if (four_bit) random_four_bits(random, p, o);
    const std::int8_t* row = p.w.data() + std::size_t{o} * in;
    for (std::uint32_t k = 0; k < in; ++k) {
      if (!four_bit) p.tiles[p.view.at(o, k)] = row[k];
      p.correction[o] += 128 * row[k];
    }
    for (std::uint32_t j = 0; j < hi; ++j) {
      if (!p.view.whole()) p.tiles[p.view.at_hi(o, j)] = row[p.index[j]];
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

/// One row's integers: lo, plus 2^hi_shift hi at the outliers.
inline std::vector<std::int32_t> integers(const activations& x, const linear_s8& w,
                                          std::uint32_t row) {
  const auto byte = [](const std::uint8_t* of_row, std::uint32_t at) {
    return of_row[at / group_inputs * panel_bytes + at % group_inputs] - 128;
  };
  std::vector<std::int32_t> q(w.in);
  for (std::uint32_t k = 0; k < w.in; ++k) q[k] = byte(x.view.lo_row(row), k);
  for (std::uint32_t j = 0; j < w.hi; ++j)
    q[w.hi_index[j]] += (1 << w.hi_shift) * byte(x.view.hi_row(row), j);
  return q;
}

/// One row of x times all weights: y [out].
inline void gemm_row(const activations& x, const product& p, std::uint32_t row, double* y) {
  const auto q = integers(x, p.view, row);
  for (std::uint32_t o = 0; o < p.view.out; ++o) {
    std::int64_t total = 0;
    for (std::uint32_t k = 0; k < p.view.in; ++k)
      total += std::int64_t{q[k]} * p.w[std::size_t{o} * p.view.in + k];
    y[o] = static_cast<double>(total) * static_cast<double>(x.scales[row]) *
           static_cast<double>(p.scale[o]);
  }
}

/// One row of dy, the gradient of the outputs, back through all weights: dx [in].
inline void gemm_back_row(const float* dy, const product& p, double* dx) {
  std::fill_n(dx, p.view.in, 0.0);
  for (std::uint32_t o = 0; o < p.view.out; ++o) {
    const double factor = static_cast<double>(dy[o]) * static_cast<double>(p.scale[o]);
    for (std::uint32_t k = 0; k < p.view.in; ++k)
      dx[k] += factor * p.w[std::size_t{o} * p.view.in + k];
  }
}

/// Row i of a product of floats, as float_product says.
template <class Product>
void dense_row(const Product& p, std::uint32_t i) {
  for (std::uint32_t j = 0; j < p.columns; ++j) {
    double sum = 0;
    for (std::uint32_t k = 0; k < p.depth; ++k)
      sum += static_cast<double>(p.a[i * p.a_row + k * p.a_column]) *
             static_cast<double>(p.b[k * p.b_row + j]);
    p.c[i * p.c_row + j] = static_cast<float>(sum);
  }
}

/// An ordinary row's scale and integers: with outliers 15 bits, without the bias, unpacked.
inline float quantise(const float* x, const linear_s8& w, std::vector<std::int32_t>& q) {
  std::vector<bool> outlying(w.in, false);
  for (std::uint32_t j = 0; j < w.hi; ++j) outlying[w.hi_index[j]] = true;
  const double wide = 127.0 * (1 << w.hi_shift);
  double scale = 0;
  for (std::uint32_t k = 0; k < w.in; ++k)
    scale = std::max(scale, std::fabs(static_cast<double>(x[k])) / (outlying[k] ? wide : 127.0));
  q.resize(w.in);
  for (std::uint32_t k = 0; k < w.in; ++k)
    q[k] = scale == 0 ? 0 : static_cast<std::int32_t>(std::nearbyint(x[k] / scale));
  return static_cast<float>(scale);
}

inline void rms_norm(const float* x, const float* gain, std::uint32_t n, double epsilon,
                     double* y) {
  double squares = 0;
  for (std::uint32_t i = 0; i < n; ++i)
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double inverse = 1 / std::sqrt(squares / n + epsilon);
  for (std::uint32_t i = 0; i < n; ++i) y[i] = x[i] * inverse * gain[i];
}

inline void rotate(const float* head, const float* cosines, const float* sines, std::uint32_t n,
                   double* y) {
  for (std::uint32_t i = 0; i < n / 2; ++i) {
    const double a = head[i], b = head[i + n / 2], c = cosines[i], s = sines[i];
    y[i] = a * c - b * s;
    y[i + n / 2] = b * c + a * s;
  }
}

inline void swiglu(const float* gate, const float* up, std::uint32_t n, double* y) {
  for (std::uint32_t i = 0; i < n; ++i) {
    const double g = gate[i];
    y[i] = g / (1 + std::exp(-g)) * up[i];
  }
}

inline void geglu(const float* gate, const float* up, std::uint32_t n, double* y) {
  for (std::uint32_t i = 0; i < n; ++i) {
    const double g = gate[i], bent = g + 0.044715 * g * g * g;
    y[i] = 0.5 * g * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * bent)) * up[i];
  }
}

/// y[o] += scale sum_j (x . a[j]) bt[j][o]; a: [rank, in], bt: [rank, out].
struct lora_factors {
  const float *a, *bt;
  std::uint32_t in, out, rank;
  double scale;
};
inline void lora(const float* x, const lora_factors& f, double* y) {
  for (std::uint32_t j = 0; j < f.rank; ++j) {
    double t = 0;
    for (std::uint32_t i = 0; i < f.in; ++i)
      t += static_cast<double>(x[i]) * static_cast<double>(f.a[std::size_t{j} * f.in + i]);
    for (std::uint32_t o = 0; o < f.out; ++o)
      y[o] += f.scale * t * static_cast<double>(f.bt[std::size_t{j} * f.out + o]);
  }
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
