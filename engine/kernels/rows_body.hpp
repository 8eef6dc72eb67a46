// Kernels over one row, written once over lanes. Included by kernels_<path>.cpp after lanes.hpp.
#pragma once

#include "engine/kernels/kernels.hpp"
#include "engine/kernels/lanes.hpp"

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

void dequantise_row(const std::int8_t* w, float scale, std::uint32_t n, float* out) {
  const lanes s = lanes::all(scale);
  std::uint32_t i = 0;
  for (; i + lane_count <= n; i += lane_count) (lanes::load(w + i) * s).store(out + i);
  for (; i < n; ++i) out[i] = static_cast<float>(w[i]) * scale;
}

/// Largest magnitude of the ordinary inputs: outliers are left out by looking them up, since there
/// are few.
float ordinary_magnitude(const float* x, const linear_s8& shape, float* outliers) {
  // A row is at most a few thousand floats: copying it is cheaper than a mask for each channel.
  lanes most = lanes::all(0);
  std::uint32_t j = 0;
  over_lanes(shape.in, [&](std::uint32_t i, std::uint32_t count) {
    lanes v = magnitude(load_some(x + i, count));
    if (j < shape.hi && shape.hi_index[j] < i + count) {
      float some[lane_count];
      v.store(some);
      for (; j < shape.hi && shape.hi_index[j] < i + count; ++j) {
        outliers[j] = x[shape.hi_index[j]];
        some[shape.hi_index[j] - i] = 0;
      }
      v = lanes::load(some);
    }
    most = max(v, most);
  });
  return largest(most);
}

float magnitude_of(const float* x, std::uint32_t n) {
  lanes most = lanes::all(0);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    most = max(magnitude(load_some(x + i, count)), most);
  });
  return largest(most);
}

/// Outlier q = 128 hi + lo with lo in [-64, 63]: the low part overwrites the byte of the ordinary
/// pass.
void split_outliers(const linear_s8& shape, const float* outliers, float inverse, std::uint8_t* lo,
                    std::uint8_t* hi) {
  for (std::uint32_t j = 0; j < shape.hi; ++j) {
    const float scaled = outliers[j] * inverse;
    const float bounded = scaled > -16256.0f ? (scaled < 16256.0f ? scaled : 16256.0f) : -16256.0f;
    const auto q = static_cast<std::int32_t>(std::nearbyint(bounded));
    const std::int32_t high = (q + 64) >> 7;
    hi[j] = static_cast<std::uint8_t>(high + 128);
    lo[shape.hi_index[j]] = static_cast<std::uint8_t>(q - high * 128 + 128);
  }
}

void quantise(const float* x, const linear_s8& shape, const quantised_rows& to, std::size_t row) {
  float outliers[hi_columns_max];
  const float ordinary = ordinary_magnitude(x, shape, outliers) / 127.0f;
  const float outlying = magnitude_of(outliers, shape.hi) / (127.0f * 128.0f);
  const float scale = ordinary > outlying ? ordinary : outlying;
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  std::uint8_t* lo = to.lo + row * to.lo_stride;
  const lanes factor = lanes::all(inverse), most = lanes::all(127.0f), least = lanes::all(-127.0f);
  lanes poison =
      lanes::all(0);  // bytes cannot be NaN, so a row that overflowed says so by its scale
  over_lanes(shape.in, [&](std::uint32_t i, std::uint32_t count) {
    const lanes v = load_some(x + i, count);
    poison = fma(v, lanes::all(0), poison);
    store_biased(nearest(min(max(v * factor, least), most)), lo + i, count);
  });
  split_outliers(shape, outliers, inverse, lo, to.hi + row * to.hi_stride);
  to.scale[row] = scale + sum(poison);
}

/// Four dots at once only hide latency; each has its own lanes and the same order as one alone.
template <std::uint32_t Many>
void dots(const float* x, const float* a, std::uint32_t in, float scale, float* t) {
  lanes total[Many];
  for (auto& lane : total) lane = lanes::all(0);
  over_lanes(in, [&](std::uint32_t i, std::uint32_t count) {
    const lanes v = load_some(x + i, count);
    for (std::uint32_t j = 0; j < Many; ++j)
      total[j] = fma(v, load_some(a + std::size_t{j} * in + i, count), total[j]);
  });
  for (std::uint32_t j = 0; j < Many; ++j) t[j] = scale * sum(total[j]);
}

void lora_down(const float* x, const float* a, std::uint32_t in, std::uint32_t rank, float scale,
               float* t) {
  std::uint32_t j = 0;
  for (; j + 4 <= rank; j += 4) dots<4>(x, a + std::size_t{j} * in, in, scale, t + j);
  for (; j < rank; ++j) dots<1>(x, a + std::size_t{j} * in, in, scale, t + j);
}

void lora_up(const float* t, const float* bt, std::uint32_t rank, std::uint32_t out,
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
