// Every training kernel against its naive twin or its derivative by differences, on every
// instruction path of this machine, and all paths against each other byte by byte.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>

#include "engine/kernels/line_vector.hpp"
#include "engine/kernels/naive.hpp"
#include "engine/kernels/training_kernels.hpp"

namespace collm::engine {
namespace {

using naive::random_floats;

/// Runs `f` on each path and expects the same bytes from all of them.
template <class F>
std::vector<float> same_on_all_paths(F&& f) {
  std::vector<float> first;
  EXPECT_EQ(kernel_paths().size(), training_paths().size());
  for (const auto* path : training_paths()) {
    const std::vector<float> now = f(*path);
    if (first.empty()) first = now;
    EXPECT_EQ(now.size(), first.size());
    EXPECT_EQ(0, std::memcmp(now.data(), first.data(), now.size() * sizeof(float))) << path->name;
  }
  return first;
}

std::vector<double> doubles(const std::vector<float>& x) { return {x.begin(), x.end()}; }

/// d f / d x[i] along `dy`, by differences in double.
using function = std::function<std::vector<double>(const std::vector<double>&)>;
double slope(const function& f, std::vector<double> x, std::size_t i,
             const std::vector<float>& dy) {
  constexpr double step = 1e-5;
  x[i] += step;
  const auto above = f(x);
  x[i] -= 2 * step;
  const auto below = f(x);
  double total = 0;
  for (std::size_t j = 0; j < dy.size(); ++j)
    total += static_cast<double>(dy[j]) * (above[j] - below[j]) / (2 * step);
  return total;
}

/// Gradient rows with memory of their own; padding must not matter.
struct gradients {
  gradients(std::uint32_t rows, std::uint32_t out)
      : bytes((rows + panel_rows - 1) / panel_rows * gradient_panel_bytes(out), 0xaa),
        scales(std::size_t{rows} * stretches(out)) {
    view.bytes = bytes.data();
    view.scale = scales.data();
    view.panel_stride = gradient_panel_bytes(out);
    view.scale_stride = stretches(out);
  }
  /// What stands for the gradient of output o, times its weight scale.
  double value(std::uint32_t row, std::uint32_t o) const {
    const std::size_t at = row / panel_rows * view.panel_stride + o / group_inputs * panel_bytes +
                           row % panel_rows * group_inputs + o % group_inputs;
    return (bytes[at] - 128.0) *
           static_cast<double>(scales[row * view.scale_stride + o / stretch_outputs]);
  }
  std::vector<std::uint8_t> bytes;
  std::vector<float> scales;
  gradient_rows view;
};

struct back_shape {
  std::uint32_t rows, in, out, hi;
  bool four_bit = false;
};
const std::vector<back_shape> back_shapes = {
    {1, 4, 1, 4},      {1, 16, 16, 4},         {3, 50, 17, 4},          {5, 48, 512, 8},
    {4, 100, 513, 4},  {7, 64, 1100, 64},      {13, 97, 33, 16},        {64, 144, 80, 16},
    {6, 68, 17000, 4}, {9, 96, 530, 16, true}, {3, 160, 40, 160, true}, {131, 24, 530, 4}};

TEST(engine_training_kernels, product_back_matches_the_naive_sum_over_outputs) {
  std::mt19937 random(1);
  for (const auto& n : back_shapes) {
    const auto w = naive::random_product(random, n.in, n.out, n.hi, n.four_bit);
    const auto dy = random_floats(random, std::size_t{n.rows} * n.out);
    gradients last(n.rows, n.out);
    const auto dx = same_on_all_paths([&](const training_table& k) {
      gradients g(n.rows, n.out);
      for (std::uint32_t r = 0; r < n.rows; ++r)
        k.quantise_gradient(dy.data() + std::size_t{r} * n.out, w.view, g.view, r,
                            r % 2 == 0 ? tail::rounded : tail::carried);
      std::vector<float> out(std::size_t{n.rows} * n.in, 7.0f);
      k.gemm_back(g.view, n.rows, w.view, 0, n.in, out.data(), n.in);
      last = g;
      return out;
    });
    for (std::uint32_t r = 0; r < n.rows; ++r)
      for (std::uint32_t k = 0; k < n.in; ++k) {
        double sum = 0, size = 1e-9;
        for (std::uint32_t o = 0; o < n.out; ++o) {
          const double part = last.value(r, o) * w.w[std::size_t{o} * n.in + k];
          sum += part;
          size += std::fabs(part);
        }
        ASSERT_NEAR(sum, dx[std::size_t{r} * n.in + k], 1e-6 * size) << n.in << " " << n.out;
      }
  }
}

TEST(engine_training_kernels, inputs_and_rows_may_be_divided) {
  std::mt19937 random(2);
  const std::uint32_t rows = 9, in = 112, out = 700;
  const auto w = naive::random_product(random, in, out, 16);
  const auto dy = random_floats(random, std::size_t{rows} * out);
  for (const auto* path : training_paths()) {
    gradients g(rows, out);
    for (std::uint32_t r = 0; r < rows; ++r)
      path->quantise_gradient(dy.data() + std::size_t{r} * out, w.view, g.view, r, tail::rounded);
    std::vector<float> whole(std::size_t{rows} * in), parts(whole.size());
    path->gemm_back(g.view, rows, w.view, 0, in, whole.data(), in);
    path->gemm_back(g.view, rows, w.view, 0, 48, parts.data(), in);
    gradient_rows later = g.view;  // rows from 4 on
    later.bytes += later.panel_stride;
    later.scale += 4 * later.scale_stride;
    path->gemm_back(g.view, 4, w.view, 48, in, parts.data(), in);
    path->gemm_back(later, rows - 4, w.view, 48, in, parts.data() + 4 * in, in);
    EXPECT_EQ(whole, parts) << path->name;
  }
}

TEST(engine_training_kernels, quantised_gradients_keep_their_bits_beside_a_large_one) {
  std::mt19937 random(3);
  const std::uint32_t out = 1300;
  const auto w = naive::random_product(random, 8, out, 4);
  auto dy = random_floats(random, out, 1e-4f);
  dy[700] = 1000;
  for (const auto* path : training_paths()) {
    gradients g(1, out);
    path->quantise_gradient(dy.data(), w.view, g.view, 0, tail::rounded);
    for (std::uint32_t o = 0; o < out; ++o)
      if (o / stretch_outputs != 700 / stretch_outputs) {
        const double exact = static_cast<double>(dy[o] * w.scale[o]);
        EXPECT_NEAR(exact, g.value(0, o),
                    0.5001 * static_cast<double>(g.scales[o / stretch_outputs]));
        EXPECT_LT(static_cast<double>(g.scales[o / stretch_outputs]), 4e-8);
      }
  }
}

TEST(engine_training_kernels, a_carried_tail_keeps_its_sum_beside_a_large_gradient) {
  std::mt19937 random(5);
  const std::uint32_t out = 5 * stretch_outputs;
  auto w = naive::random_product(random, 8, out, 4);
  std::vector<float> dy(out);
  std::exponential_distribution<float> small(1);
  for (auto& x : dy) x = 1e-4f * small(random);
  for (std::uint32_t o = 100; o < out; o += stretch_outputs) dy[o] = 0.9f;
  std::ranges::fill(w.scale, 1.0f);
  const auto kept = [&](const training_table& k, tail of) {
    gradients g(1, out);
    k.quantise_gradient(dy.data(), w.view, g.view, 0, of);
    double of_tail = 0;
    for (std::uint32_t o = 0; o < out; ++o)
      if (dy[o] < 0.1f) of_tail += g.value(0, o);
    return of_tail;
  };
  double exact = 0;
  for (const float x : dy) exact += x < 0.1f ? static_cast<double>(x) : 0.0;
  for (const auto* path : training_paths()) {
    EXPECT_EQ(kept(*path, tail::rounded), 0) << path->name;
    EXPECT_NEAR(kept(*path, tail::carried), exact, 0.05 * exact) << path->name;
  }
}

TEST(engine_training_kernels, a_gradient_that_is_no_number_says_so_by_its_scale) {
  std::mt19937 random(4);
  const auto w = naive::random_product(random, 8, 40, 4);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> dy(40, 0.0f);
    dy[17] = bad;
    for (const auto* path : training_paths())
      for (const tail of : {tail::rounded, tail::carried}) {
        gradients g(1, 40);
        path->quantise_gradient(dy.data(), w.view, g.view, 0, of);
        EXPECT_TRUE(std::isnan(g.scales[0])) << path->name;
      }
  }
}

TEST(engine_training_kernels, gradients_too_small_for_an_inverse_are_zeros) {
  std::mt19937 random(13);
  const auto w = naive::random_product(random, 8, 40, 4);
  std::vector<float> dy(40, 0.0f);
  dy[3] = 1e-38f;
  for (const auto* path : training_paths())
    for (const tail of : {tail::rounded, tail::carried}) {
      gradients g(1, 40);
      path->quantise_gradient(dy.data(), w.view, g.view, 0, of);
      for (std::uint32_t o = 0; o < 40; ++o) EXPECT_EQ(0, g.value(0, o)) << path->name;
    }
}

TEST(engine_training_kernels, products_match_the_naive_sum_either_way_round) {
  std::mt19937 random(5);
  struct shape {
    std::uint32_t rows, depth, columns;
  };
  for (const shape n : {shape{1, 1, 1},
                        {3, 7, 5},
                        {8, 16, 32},
                        {9, 5, 33},
                        {13, 40, 16},
                        {20, 3, 100},
                        {5, 64, 8},
                        {9, 30, 24},
                        {9, 30, 27}})
    for (const bool turned : {false, true})
      for (const bool add : {false, true}) {
        const auto a = random_floats(random, n.rows * n.depth),
                   b = random_floats(random, n.depth * n.columns),
                   before = random_floats(random, n.rows * n.columns);
        const auto c = same_on_all_paths([&](const training_table& k) {
          auto out = before;
          k.product({.a = a.data(),
                     .a_row = turned ? 1 : n.depth,
                     .a_column = turned ? n.rows : 1,
                     .b = b.data(),
                     .b_row = n.columns,
                     .c = out.data(),
                     .c_row = n.columns,
                     .rows = n.rows,
                     .depth = n.depth,
                     .columns = n.columns,
                     .add = add});
          return out;
        });
        for (std::uint32_t i = 0; i < n.rows; ++i)
          for (std::uint32_t j = 0; j < n.columns; ++j) {
            double sum = add ? static_cast<double>(before[i * n.columns + j]) : 0;
            for (std::uint32_t k = 0; k < n.depth; ++k)
              sum += static_cast<double>(turned ? a[k * n.rows + i] : a[i * n.depth + k]) *
                     static_cast<double>(b[k * n.columns + j]);
            ASSERT_NEAR(sum, c[i * n.columns + j], 1e-4);
          }
      }
}

const std::vector<std::uint32_t> widths = {1, 2, 15, 16, 17, 33, 100};

TEST(engine_training_kernels, rms_norm_back_adds_the_derivative) {
  std::mt19937 random(6);
  for (const auto n : widths) {
    const auto x = random_floats(random, n), gain = random_floats(random, n),
               dy = random_floats(random, n), before = random_floats(random, n);
    const auto dx = same_on_all_paths([&](const training_table& k) {
      auto out = before;
      k.rms_norm_back(x.data(), gain.data(), dy.data(), n, 1e-3f, out.data());
      return out;
    });
    const auto norm = [&](const std::vector<double>& v) {
      double squares = 0;
      for (double e : v) squares += e * e;
      std::vector<double> y(n);
      for (std::uint32_t i = 0; i < n; ++i)
        y[i] = v[i] / std::sqrt(squares / n + 1e-3) * static_cast<double>(gain[i]);
      return y;
    };
    for (std::uint32_t i = 0; i < n; ++i)
      EXPECT_NEAR(static_cast<double>(before[i]) + slope(norm, doubles(x), i, dy), dx[i], 2e-4)
          << n;
  }
}

void expect_gate_back(double (*gate_of)(double),
                      void (*training_table::*back)(const float*, std::uint32_t, float*, float*)) {
  std::mt19937 random(7);
  for (const auto n : widths) {
    const auto gate = random_floats(random, n, 3), up = random_floats(random, n),
               dh = random_floats(random, n);
    const auto both = same_on_all_paths([&](const training_table& k) {
      auto out = gate;
      out.insert(out.end(), up.begin(), up.end());
      (k.*back)(dh.data(), n, out.data(), out.data() + n);
      return out;
    });
    for (std::uint32_t i = 0; i < n; ++i) {
      const double g = gate[i], step = 1e-5;
      const double rise = (gate_of(g + step) - gate_of(g - step)) / (2 * step);
      EXPECT_NEAR(static_cast<double>(dh[i]) * static_cast<double>(up[i]) * rise, both[i], 1e-4);
      EXPECT_NEAR(static_cast<double>(dh[i]) * gate_of(g), both[n + i], 1e-4);
    }
  }
}

TEST(engine_training_kernels, swiglu_back_is_the_derivative) {
  expect_gate_back([](double g) { return g / (1 + std::exp(-g)); }, &training_table::swiglu_back);
}

TEST(engine_training_kernels, geglu_back_is_the_derivative) {
  expect_gate_back(
      [](double g) {
        return 0.5 * g *
               (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (g + 0.044715 * g * g * g)));
      },
      &training_table::geglu_back);
}

TEST(engine_training_kernels, softmax_sees_its_range_alone_and_its_derivative_follows) {
  std::mt19937 random(8);
  struct range {
    std::uint32_t first, last, n;
  };
  for (const range w : {range{0, 1, 1}, {0, 16, 16}, {3, 20, 40}, {17, 33, 33}, {0, 5, 64}}) {
    auto s = random_floats(random, w.n, 3);
    const auto dy = random_floats(random, w.n);
    const float factor = 0.7f;
    const auto both = same_on_all_paths([&](const training_table& k) {
      auto p = s;
      for (std::uint32_t i = w.last; i < w.n; ++i) p[i] = 1e30f;  // not seen, so of no weight
      k.softmax(p.data(), w.first, w.last, w.n, factor);
      auto ds = dy;
      k.softmax_back(p.data(), w.n, factor, ds.data());
      p.insert(p.end(), ds.begin(), ds.end());
      return p;
    });
    const auto exact = [&](const std::vector<double>& v) {
      std::vector<double> p(w.n, 0);
      double total = 0;
      for (std::uint32_t i = w.first; i < w.last; ++i)
        total += p[i] = std::exp(static_cast<double>(factor) * v[i]);
      for (double& e : p) e /= total;
      return p;
    };
    const auto p = exact(doubles(s));
    for (std::uint32_t i = 0; i < w.n; ++i) {
      EXPECT_NEAR(p[i], both[i], 1e-6);
      EXPECT_NEAR(slope(exact, doubles(s), i, dy), both[w.n + i], 1e-5);
    }
  }
}

TEST(engine_training_kernels, cross_entropy_leaves_the_weighted_softmax) {
  std::mt19937 random(9);
  for (const std::uint32_t n : {1u, 5u, 16u, 97u, 500u}) {
    const auto logits = random_floats(random, n, 4);
    const std::uint32_t target = n / 2;
    double exact = 0;
    for (float v : logits) exact += std::exp(static_cast<double>(v));
    double given = 0;
    const auto p = same_on_all_paths([&](const training_table& k) {
      auto out = logits;
      given = k.cross_entropy(out.data(), n, target, 0.25f);
      return out;
    });
    EXPECT_NEAR(std::log(exact) - static_cast<double>(logits[target]), given, 1e-5);
    for (std::uint32_t i = 0; i < n; ++i)
      EXPECT_NEAR(0.25 * std::exp(static_cast<double>(logits[i])) / exact, p[i], 1e-6);
  }
}

TEST(engine_training_kernels, adam_matches_its_formula) {
  std::mt19937 random(10);
  const adam_step step{0.9f, 0.99f, 1e-8f, 0.999f, 0.01f, 3.0f, 0.5f};
  for (const auto n : widths) {
    const auto g = random_floats(random, n), value = random_floats(random, n),
               mean = random_floats(random, n);
    auto square = random_floats(random, n);
    for (float& v : square) v *= v;
    const auto all = same_on_all_paths([&](const training_table& k) {
      auto v = value, m = mean, s = square;
      k.adam(step, g.data(), n, v.data(), m.data(), s.data());
      v.insert(v.end(), m.begin(), m.end());
      v.insert(v.end(), s.begin(), s.end());
      return v;
    });
    for (std::uint32_t i = 0; i < n; ++i) {
      const double gradient = 0.5 * static_cast<double>(g[i]);
      const double m = 0.9 * static_cast<double>(mean[i]) + 0.1 * gradient;
      const double s = 0.99 * static_cast<double>(square[i]) + 0.01 * gradient * gradient;
      EXPECT_NEAR(0.999 * static_cast<double>(value[i]) - 0.01 * m / (std::sqrt(s) * 3 + 1e-8),
                  all[i], 1e-5);
      EXPECT_NEAR(m, all[n + i], 1e-6);
      EXPECT_NEAR(s, all[2 * n + i], 1e-6);
    }
  }
}

TEST(engine_training_kernels, rows_are_scaled_added_squared_and_halved) {
  std::mt19937 random(11);
  for (const auto n : widths) {
    const auto x = random_floats(random, n), y = random_floats(random, n);
    double squares = 0, given = 0;
    for (float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
    const auto all = same_on_all_paths([&](const training_table& k) {
      auto scaled = x, sum = y;
      k.scale(-2, n, scaled.data());
      k.add_scaled(x.data(), 0.5f, n, sum.data());
      given = k.squares(x.data(), n);
      std::vector<half> narrow(n);
      std::vector<float> wide(n), far = x;
      far[0] = -1e6f;  // beyond what a half holds
      k.to_halves(far.data(), n, narrow.data());
      k.from_halves(narrow.data(), n, wide.data());
      scaled.insert(scaled.end(), sum.begin(), sum.end());
      scaled.insert(scaled.end(), wide.begin(), wide.end());
      return scaled;
    });
    EXPECT_NEAR(squares, given, 1e-5 * squares);
    EXPECT_EQ(-65504.0f, all[2 * n]);
    for (std::uint32_t i = 0; i < n; ++i) {
      EXPECT_EQ(-2 * x[i], all[i]);
      EXPECT_NEAR(y[i] + 0.5f * x[i], all[n + i], 1e-6);
      if (i > 0) {
        EXPECT_NEAR(x[i], all[2 * n + i], std::fabs(x[i]) / 2000);
      }
    }
  }
}

TEST(line_vector, begins_a_cache_line_whatever_it_grows_to) {
  line_vector<float> numbers;
  for (const std::size_t n : {1u, 100u, 1'000'000u}) {
    numbers.resize(n, 1.0f);
    EXPECT_EQ(0u, reinterpret_cast<std::uintptr_t>(numbers.data()) % row_alignment) << n;
  }
  const auto copy = numbers;
  EXPECT_EQ(0u, reinterpret_cast<std::uintptr_t>(copy.data()) % row_alignment);
  EXPECT_EQ(numbers, copy);
}

}  // namespace
}  // namespace collm::engine
