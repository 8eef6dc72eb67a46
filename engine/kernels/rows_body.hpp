// Kernels over one row, written once over lanes. Included by kernels_<path>.cpp after lanes.hpp.
#pragma once

#include <limits>

#include "engine/kernels/kernels.hpp"
#include "engine/kernels/lanes.hpp"
#include "engine/kernels/unroll.hpp"

namespace collm::engine {
namespace {

void rms_norm(const float* x, const float* gain, std::uint32_t n, float epsilon, float* out) {
  lanes squares = lanes::all(0);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes v = load_some(x + i, count);
    squares = fma(v, v, squares);
  });
  const float mean = sum(squares) / static_cast<float>(n);
  const lanes inverse = lanes::all(1.0f / std::sqrt(mean + epsilon));
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(load_some(x + i, count) * inverse * load_some(gain + i, count), out + i, count);
  });
}

void rotate(float* head, const float* cosines, const float* sines, std::uint32_t n) {
  float* second = head + n / 2;
  over_lanes(n / 2, [&](std::uint32_t i, std::uint32_t count) {
    const lanes c = load_some(cosines + i, count), s = load_some(sines + i, count);
    const lanes a = load_some(head + i, count), b = load_some(second + i, count);
    store_some(a * c - b * s, head + i, count);
    store_some(b * c + a * s, second + i, count);
  });
}

void swiglu(const float* gate, const float* up, std::uint32_t n, float* out) {
  const lanes one = lanes::all(1.0f), zero = lanes::all(0.0f);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes g = load_some(gate + i, count);
    const lanes silu = g / (one + exponential(zero - g));
    store_some(silu * load_some(up + i, count), out + i, count);
  });
}

/// 0.5 g (1 + tanh u) = g / (1 + exp(-2u)) with u = sqrt(2 / pi) (g + 0.044715 g^3).
void geglu(const float* gate, const float* up, std::uint32_t n, float* out) {
  const lanes one = lanes::all(1.0f), cubic = lanes::all(0.044715f);
  const lanes factor = lanes::all(-1.5957691216057308f);  // -2 sqrt(2 / pi)
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes g = load_some(gate + i, count);
    const lanes bent = fma(cubic * g * g, g, g);
    const lanes gelu = g / (one + exponential(factor * bent));
    store_some(gelu * load_some(up + i, count), out + i, count);
  });
}

void add(const float* y, std::uint32_t n, float* x) {
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(load_some(x + i, count) + load_some(y + i, count), x + i, count);
  });
}

void exponential_row(const float* x, std::uint32_t n, float* out) {
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(exponential(load_some(x + i, count)), out + i, count);
  });
}

float peak(const float* x, std::uint32_t n, bool* finite) {
  lanes most = lanes::all(-std::numeric_limits<float>::infinity()), poison = lanes::all(0);
  std::uint32_t i = 0;
  for (; i + lane_count <= n; i += lane_count) {
    const lanes v = lanes::load(x + i);
    most = max(v, most);
    poison = fma(v, lanes::all(0), poison);
  }
  float top = largest(most), broken = sum(poison);
  for (; i < n; ++i) {
    top = x[i] > top ? x[i] : top;
    broken += x[i] * 0;
  }
  *finite = broken == 0;
  return top;
}

void to_halves(const float* x, std::uint32_t n, half* out) {
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    half some[lane_count];
    store_halves(load_some(x + i, count), some);
    std::memcpy(out + i, some, count * sizeof(half));
  });
}

void dequantise_row(const linear_s8& w, std::uint32_t o, float factor, float* out) {
  const float scale = w.scale[o] * factor;
  for (std::uint32_t k = 0; k < w.in; ++k) out[k] = static_cast<float>(w.weight(o, k)) * scale;
}

float magnitude_of(const float* x, std::uint32_t n) {
  lanes most = lanes::all(0);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    most = max(magnitude(load_some(x + i, count)), most);
  });
  return largest(most);
}

/// Bytes of up to sixteen inputs from `i` on, to their groups.
void store_inputs(lanes whole, std::uint8_t* row, std::uint32_t i, std::uint32_t count) {
  std::uint8_t bytes[lane_count];
  store_biased(whole, bytes);
  std::uint8_t* to = row + std::size_t{i} / group_inputs * panel_bytes;
  for (std::uint32_t k = 0; k < count; k += group_inputs, to += panel_bytes)
    std::memcpy(to, bytes + k, group_inputs);
}

/// Outlier q = 128 hi + lo with lo in [-64, 64]: the low part overwrites the byte of the ordinary
/// pass.
void split_outliers(const linear_s8& shape, const float* outliers, float inverse, std::uint8_t* lo,
                    std::uint8_t* hi) {
  const lanes factor = lanes::all(inverse), most = lanes::all(16256.0f),
              least = lanes::all(-16256.0f);
  over_lanes(shape.hi, [&](std::uint32_t j, std::uint32_t count) {
    const lanes q = nearest(min(max(load_some(outliers + j, count) * factor, least), most));
    const lanes high = nearest(q * lanes::all(1.0f / 128));
    store_inputs(high, hi, j, count);
    std::uint8_t low[lane_count];
    store_biased(fma(high, lanes::all(-128.0f), q), low);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t k = shape.hi_index[j + i];
      lo[std::size_t{k} / group_inputs * panel_bytes + k % group_inputs] = low[i];
    }
  });
}

/// Sets the outliers' inputs aside while the ordinary ones are measured and quantised.
class outliers_aside {
 public:
  outliers_aside(float* x, const linear_s8& shape) : x_(x), shape_(shape) {
    for (std::uint32_t j = 0; j < shape.hi; ++j) {
      values[j] = x[shape.hi_index[j]];
      x[shape.hi_index[j]] = 0;
    }
  }
  ~outliers_aside() {
    for (std::uint32_t j = 0; j < shape_.hi; ++j) x_[shape_.hi_index[j]] = values[j];
  }
  outliers_aside(const outliers_aside&) = delete;
  outliers_aside& operator=(const outliers_aside&) = delete;
  float values[hi_columns_max];

 private:
  float* x_;
  const linear_s8& shape_;
};

/// Every input with high bits: q = 2^shift hi + lo.
void quantise_whole(const float* x, const linear_s8& shape, const quantised_rows& to,
                    std::size_t row) {
  const float step = static_cast<float>(1u << shape.hi_shift), largest_q = 127.0f * step;
  const float scale = magnitude_of(x, shape.in) / largest_q;
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  const lanes factor = lanes::all(inverse), most = lanes::all(largest_q),
              least = lanes::all(-largest_q);
  std::uint8_t *lo = to.lo_row(row), *hi = to.hi_row(row);
  lanes poison = lanes::all(0);
  over_lanes(shape.in, [&](std::uint32_t i, std::uint32_t count) {
    const lanes v = load_some(x + i, count);
    poison = fma(v, lanes::all(0), poison);
    const lanes q = nearest(min(max(v * factor, least), most));
    const lanes high = nearest(q * lanes::all(1.0f / step));
    store_inputs(high, hi, i, count);
    store_inputs(fma(high, lanes::all(-step), q), lo, i, count);
  });
  to.scale[row] = scale + sum(poison);
}

void quantise(float* x, const linear_s8& shape, const quantised_rows& to, std::size_t row) {
  if (shape.whole()) return quantise_whole(x, shape, to, row);
  const outliers_aside outliers(x, shape);
  const float ordinary = magnitude_of(x, shape.in) / 127.0f;
  const float outlying = magnitude_of(outliers.values, shape.hi) / (127.0f * 128.0f);
  const float scale = ordinary > outlying ? ordinary : outlying;
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  std::uint8_t* lo = to.lo_row(row);
  const lanes factor = lanes::all(inverse), most = lanes::all(127.0f), least = lanes::all(-127.0f);
  // bytes cannot be NaN, so a row that overflowed says so by its scale
  lanes poison = lanes::all(0);
  over_lanes(shape.hi, [&](std::uint32_t j, std::uint32_t count) {
    poison = fma(load_some(outliers.values + j, count), lanes::all(0), poison);
  });
  over_lanes(shape.in, [&](std::uint32_t i, std::uint32_t count) {
    const lanes v = load_some(x + i, count);
    poison = fma(v, lanes::all(0), poison);
    store_inputs(nearest(min(max(v * factor, least), most)), lo, i, count);
  });
  split_outliers(shape, outliers.values, inverse, lo, to.hi_row(row));
  to.scale[row] = scale + sum(poison);
}

/// Many dots at once only hide latency; each has its own lanes and the same order as one alone.
template <std::uint32_t Many>
void dots(const float* x, const half* a, std::uint32_t in, float scale, float* t) {
  lanes total[Many];
  COLLM_UNROLL for (std::uint32_t j = 0; j < Many; ++j) total[j] = lanes::all(0);
  std::uint32_t i = 0;
  for (; i + lane_count <= in; i += lane_count) {
    const lanes v = lanes::load(x + i);
    COLLM_UNROLL for (std::uint32_t j = 0; j < Many; ++j) total[j] =
        fma(v, lanes::load(a + std::size_t{j} * in + i), total[j]);
  }
  if (const std::uint32_t rest = in - i; rest > 0) {
    const lanes v = load_some(x + i, rest);
    COLLM_UNROLL for (std::uint32_t j = 0; j < Many; ++j) total[j] =
        fma(v, load_some(a + std::size_t{j} * in + i, rest), total[j]);
  }
  COLLM_UNROLL for (std::uint32_t j = 0; j < Many; ++j) t[j] = scale * sum(total[j]);
}

void lora_down(const float* x, const half* a, std::uint32_t in, std::uint32_t rank, float scale,
               float* t) {
  std::uint32_t j = 0;
  for (; j + 8 <= rank; j += 8) dots<8>(x, a + std::size_t{j} * in, in, scale, t + j);
  for (; j + 4 <= rank; j += 4) dots<4>(x, a + std::size_t{j} * in, in, scale, t + j);
  for (; j < rank; ++j) dots<1>(x, a + std::size_t{j} * in, in, scale, t + j);
}

void lora_up(const float* t, const half* bt, std::uint32_t rank, std::uint32_t out,
             std::uint32_t first, std::uint32_t last, float* y) {
  over_lanes(last - first, [&](std::uint32_t i, std::uint32_t count) {
    const std::uint32_t o = first + i;
    lanes total = lanes::all(0);
    for (std::uint32_t j = 0; j < rank; ++j)
      total = fma(lanes::all(t[j]), load_some(bt + std::size_t{j} * out + o, count), total);
    store_some(load_some(y + o, count) + total, y + o, count);
  });
}

}  // namespace
}  // namespace collm::engine
