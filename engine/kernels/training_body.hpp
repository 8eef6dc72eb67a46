// Derivatives and optimizer steps over one row, written once over lanes. Included by
// training_<path>.cpp.
#pragma once

#include "engine/kernels/lanes.hpp"
#include "engine/kernels/training_kernels.hpp"

namespace collm::engine {
namespace {

/// Up to sixteen of a stretch's numbers, scaled and rounded, to their groups of four.
void store_gradients(lanes whole, std::uint8_t* row, std::uint32_t o, std::uint32_t count) {
  std::uint8_t bytes[lane_count];
  store_biased(whole, bytes);
  std::uint8_t* to = row + std::size_t{o} / group_inputs * panel_bytes;
  for (std::uint32_t i = 0; i < count; i += group_inputs, to += panel_bytes)
    std::memcpy(to, bytes + i, group_inputs);
}

/// Smaller gradients are zeros: their inverse would be no number.
constexpr float scale_min = 1e-36f;

/// One stretch of a row, from output `first` on, to `bytes`: its scale. Each lane's
/// error begins at `spread`.
template <tail Of>
float quantise_stretch(const float* dy, const float* scale_of, std::uint32_t first, std::uint32_t n,
                       const float* spread, std::uint8_t* bytes) {
  lanes most = lanes::all(0), poison = lanes::all(0);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes v = load_some(dy + first + i, count) * load_some(scale_of + first + i, count);
    most = max(magnitude(v), most);
    poison = fma(v, lanes::all(0), poison);  // bytes cannot be NaN, so the scale says so
  });
  const float exact = largest(most) / 127.0f;
  const float scale = exact > scale_min ? exact : 0.0f;
  const lanes factor = lanes::all(scale > 0 ? 1.0f / scale : 0.0f), limit = lanes::all(127.0f),
              least = lanes::all(-127.0f);
  lanes error = lanes::load(spread);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes v = load_some(dy + first + i, count) * load_some(scale_of + first + i, count);
    lanes wanted = v * factor;
    if constexpr (Of == tail::carried) wanted = wanted + error;
    const lanes given = nearest(min(max(wanted, least), limit));
    store_gradients(given, bytes, first + i, count);
    // A chain from output to output: where nothing is carried there is none to wait for.
    if constexpr (Of == tail::carried) error = wanted - given;
  });
  return scale + sum(poison);
}

void quantise_gradient(const float* dy, const linear_s8& w, const gradient_rows& to,
                       std::size_t row, tail of) {
  // Of a carried tail each lane hands its rounding error to its next output. Lanes begin at evenly
  // spread errors, so what all of them leave at the end adds up to nothing in the mean.
  float spread[lane_count];
  for (std::uint32_t i = 0; i < lane_count; ++i)
    spread[i] = (static_cast<float>(i) + 0.5f) / lane_count - 0.5f;
  const auto quantise =
      of == tail::carried ? quantise_stretch<tail::carried> : quantise_stretch<tail::rounded>;
  std::uint8_t* bytes =
      to.bytes + row / panel_rows * to.panel_stride + row % panel_rows * group_inputs;
  for (std::uint32_t s = 0; s < stretches(w.out); ++s) {
    const std::uint32_t first = s * stretch_outputs, left = w.out - first,
                        n = left < stretch_outputs ? left : stretch_outputs;
    to.scale[row * to.scale_stride + s] = quantise(dy, w.scale, first, n, spread, bytes);
  }
}

/// With inverse = 1 / sqrt(mean(x^2) + epsilon):
/// dx_i += inverse g_i dy_i - x_i inverse^3 / n sum_j g_j dy_j x_j
void rms_norm_back(const float* x, const float* gain, const float* dy, std::uint32_t n,
                   float epsilon, float* dx) {
  lanes squares = lanes::all(0), products = lanes::all(0);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes v = load_some(x + i, count);
    squares = fma(v, v, squares);
    products = fma(load_some(gain + i, count) * load_some(dy + i, count), v, products);
  });
  const auto width = static_cast<float>(n);
  const float inverse = 1.0f / std::sqrt(sum(squares) / width + epsilon);
  const lanes along = lanes::all(inverse),
              against = lanes::all(-(inverse * inverse * inverse) * (sum(products) / width));
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes direct = along * load_some(gain + i, count) * load_some(dy + i, count);
    const lanes both = fma(load_some(x + i, count), against, direct);
    store_some(load_some(dx + i, count) + both, dx + i, count);
  });
}

/// silu(g) = g s with s = sigmoid(g); its derivative is s (1 + g (1 - s)).
void swiglu_back(const float* dh, std::uint32_t n, float* gate, float* up) {
  const lanes one = lanes::all(1.0f), zero = lanes::all(0.0f);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes g = load_some(gate + i, count), u = load_some(up + i, count),
                d = load_some(dh + i, count);
    const lanes s = one / (one + exponential(zero - g));
    store_some(d * u * (s * fma(g, one - s, one)), gate + i, count);
    store_some(d * (g * s), up + i, count);
  });
}

/// gelu(g) = g s with s = sigmoid(2 u), u = sqrt(2 / pi) (g + 0.044715 g^3); its derivative is
/// s + g s (1 - s) 2 u'.
void geglu_back(const float* dh, std::uint32_t n, float* gate, float* up) {
  const lanes one = lanes::all(1.0f), cubic = lanes::all(0.044715f);
  const lanes factor = lanes::all(-1.5957691216057308f);  // -2 sqrt(2 / pi)
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes g = load_some(gate + i, count), u = load_some(up + i, count),
                d = load_some(dh + i, count);
    const lanes s = one / (one + exponential(factor * fma(cubic * g * g, g, g)));
    const lanes slope =
        lanes::all(1.5957691216057308f) * fma(lanes::all(3 * 0.044715f) * g, g, one);
    store_some(d * u * (s * fma(g * (one - s), slope, one)), gate + i, count);
    store_some(d * (g * s), up + i, count);
  });
}

void softmax(float* s, std::uint32_t first, std::uint32_t last, std::uint32_t n, float factor) {
  for (std::uint32_t j = 0; j < first; ++j) s[j] = 0;
  for (std::uint32_t j = last; j < n; ++j) s[j] = 0;
  float* seen = s + first;
  const lanes times = lanes::all(factor);
  lanes most = lanes::all(seen[0] * factor);
  over_lanes(last - first, [&](std::uint32_t j, std::uint32_t count) {
    const lanes v = load_some(seen + j, count) * times;
    store_some(v, seen + j, count);
    if (count == lane_count)
      most = max(v, most);
    else
      for (std::uint32_t i = 0; i < count; ++i) most = max(lanes::all(seen[j + i]), most);
  });
  const lanes peak = lanes::all(largest(most));
  lanes total = lanes::all(0);
  over_lanes(last - first, [&](std::uint32_t j, std::uint32_t count) {
    store_some(exponential(load_some(seen + j, count) - peak), seen + j, count);
    total = total + load_some(seen + j, count);
  });
  const lanes share = lanes::all(1.0f / sum(total));
  over_lanes(last - first, [&](std::uint32_t j, std::uint32_t count) {
    store_some(load_some(seen + j, count) * share, seen + j, count);
  });
}

void softmax_back(const float* p, std::uint32_t n, float factor, float* ds) {
  lanes products = lanes::all(0);
  over_lanes(n, [&](std::uint32_t j, std::uint32_t count) {
    products = fma(load_some(p + j, count), load_some(ds + j, count), products);
  });
  const lanes mean = lanes::all(sum(products)), times = lanes::all(factor);
  over_lanes(n, [&](std::uint32_t j, std::uint32_t count) {
    store_some(times * load_some(p + j, count) * (load_some(ds + j, count) - mean), ds + j, count);
  });
}

double cross_entropy_row(float* logits, std::uint32_t n, std::uint32_t target, float weight) {
  lanes most = lanes::all(logits[0]);
  over_lanes(n, [&](std::uint32_t j, std::uint32_t count) {
    if (count == lane_count)
      most = max(lanes::load(logits + j), most);
    else
      for (std::uint32_t i = 0; i < count; ++i) most = max(lanes::all(logits[j + i]), most);
  });
  const float top = largest(most);
  const double of_target = static_cast<double>(logits[target]) - static_cast<double>(top);
  lanes total = lanes::all(0);
  over_lanes(n, [&](std::uint32_t j, std::uint32_t count) {
    store_some(exponential(load_some(logits + j, count) - lanes::all(top)), logits + j, count);
    total = total + load_some(logits + j, count);
  });
  const float all = sum(total);
  const lanes share = lanes::all(weight / all);
  over_lanes(n, [&](std::uint32_t j, std::uint32_t count) {
    store_some(load_some(logits + j, count) * share, logits + j, count);
  });
  return std::log(static_cast<double>(all)) - of_target;
}

void scale_row(float factor, std::uint32_t n, float* x) {
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(lanes::all(factor) * load_some(x + i, count), x + i, count);
  });
}

void add_scaled(const float* x, float factor, std::uint32_t n, float* y) {
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(fma(lanes::all(factor), load_some(x + i, count), load_some(y + i, count)), y + i,
               count);
  });
}

double sum_of_squares(const float* x, std::uint32_t n) {
  double total = 0;
  constexpr std::uint32_t piece = 1024;  // floats lose little over so few
  for (std::uint32_t at = 0; at < n; at += piece) {
    lanes squares = lanes::all(0);
    over_lanes(n - at < piece ? n - at : piece, [&](std::uint32_t i, std::uint32_t count) {
      const lanes v = load_some(x + at + i, count);
      squares = fma(v, v, squares);
    });
    total += static_cast<double>(sum(squares));
  }
  return total;
}

void adam_row(const adam_step& step, const float* gradient, std::uint32_t n, float* value,
              float* mean, float* square) {
  const lanes one = lanes::all(1.0f), b1 = lanes::all(step.beta1), b2 = lanes::all(step.beta2);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    const lanes g = load_some(gradient + i, count) * lanes::all(step.gradient_factor);
    const lanes m = fma(b1, load_some(mean + i, count), (one - b1) * g);
    const lanes v = fma(b2, load_some(square + i, count), (one - b2) * g * g);
    store_some(m, mean + i, count);
    store_some(v, square + i, count);
    const lanes root = fma(square_root(v), lanes::all(step.root), lanes::all(step.epsilon));
    const lanes kept = lanes::all(step.decay) * load_some(value + i, count);
    store_some(kept - lanes::all(step.rate) * m / root, value + i, count);
  });
}

void to_bounded_halves(const float* x, std::uint32_t n, half* out) {
  const lanes most = lanes::all(65504.0f), least = lanes::all(-65504.0f);
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    half some[lane_count];
    store_halves(min(max(load_some(x + i, count), least), most), some);
    std::memcpy(out + i, some, count * sizeof(half));
  });
}

void from_halves(const half* x, std::uint32_t n, float* out) {
  over_lanes(n, [&](std::uint32_t i, std::uint32_t count) {
    store_some(load_some(x + i, count), out + i, count);
  });
}

}  // namespace
}  // namespace collm::engine
