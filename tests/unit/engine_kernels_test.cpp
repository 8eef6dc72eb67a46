// Every kernel against its naive twin, on every instruction path of this machine, and all paths
// against each other byte by byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "engine/kernels/naive.hpp"

namespace collm::engine {
namespace {

using naive::activations;
using naive::random_floats;

/// Runs `f` on each path and expects the same bytes from all of them.
template <class F>
std::vector<float> same_on_all_paths(F&& f) {
  std::vector<float> first;
  for (const auto* path : kernel_paths()) {
    const std::vector<float> now = f(*path);
    if (first.empty()) first = now;
    EXPECT_EQ(now.size(), first.size());
    const auto bits = [](float x) { return std::bit_cast<std::uint32_t>(x); };
    EXPECT_TRUE(std::ranges::equal(now, first, {}, bits, bits)) << path->name;
  }
  return first;
}

const std::vector<std::uint32_t> widths = {1, 2, 3, 8, 15, 16, 17, 24, 31, 33, 56, 64, 100, 576};

TEST(engine_kernels, end_with_the_portable_path) {
  ASSERT_FALSE(kernel_paths().empty());
  EXPECT_STREQ("portable", kernel_paths().back()->name);
}

TEST(engine_kernels, exponential_is_exact_to_2e_7_and_zero_far_below) {
  std::vector<float> x = {0, 1, -1, -86.9f, -87.0f, -87.5f, -1000, 80, 1e-8f};
  for (float v = -20; v < 20; v += 0.37f) x.push_back(v);
  const auto y = same_on_all_paths([&](const kernel_table& k) {
    std::vector<float> out(x.size());
    k.exponential(x.data(), static_cast<std::uint32_t>(x.size()), out.data());
    return out;
  });
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = x[i] <= -87.0f ? 0.0 : std::exp(static_cast<double>(x[i]));
    EXPECT_NEAR(y[i], expected, 2e-7 * expected) << x[i];
  }
}

TEST(engine_kernels, peak_is_the_largest_number_and_tells_what_is_not_finite) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  std::mt19937 random(3);
  for (const auto n : widths)
    for (const float odd : {1.0f, 1e6f, -1e6f, 0.0f, -0.0f, infinity, -infinity, nan}) {
      auto x = random_floats(random, n);
      x[random() % n] = odd;
      x[random() % n] = odd;
      float expected = -infinity;
      for (const float v : x) expected = v > expected ? v : expected;
      const auto found = same_on_all_paths([&](const kernel_table& k) {
        bool finite = true;
        const float top = k.peak(x.data(), n, &finite);
        EXPECT_EQ(finite, std::isfinite(odd)) << n << ", " << odd;
        return std::vector<float>{top == 0 ? 0 : top};
      });
      EXPECT_EQ(found[0], expected) << n << ", " << odd;
    }
}

TEST(engine_kernels, rms_norm_matches_its_formula) {
  std::mt19937 random(1);
  for (auto n : widths) {
    const auto x = random_floats(random, n), gain = random_floats(random, n);
    const auto y = same_on_all_paths([&](const kernel_table& k) {
      std::vector<float> out(n);
      k.rms_norm(x.data(), gain.data(), n, 1e-5f, out.data());
      return out;
    });
    std::vector<double> expected(n);
    naive::rms_norm(x.data(), gain.data(), n, 1e-5, expected.data());
    for (std::uint32_t i = 0; i < n; ++i)
      EXPECT_NEAR(y[i], expected[i], 1e-5 * (1 + std::fabs(expected[i]))) << n;
  }
}

TEST(engine_kernels, swiglu_matches_its_formula) {
  std::mt19937 random(2);
  for (auto n : widths) {
    const auto gate = random_floats(random, n, 4), up = random_floats(random, n);
    const auto y = same_on_all_paths([&](const kernel_table& k) {
      std::vector<float> out(n);
      k.swiglu(gate.data(), up.data(), n, out.data());
      return out;
    });
    std::vector<double> expected(n);
    naive::swiglu(gate.data(), up.data(), n, expected.data());
    for (std::uint32_t i = 0; i < n; ++i) EXPECT_NEAR(y[i], expected[i], 1e-5);
  }
}

TEST(engine_kernels, geglu_matches_its_formula) {
  std::mt19937 random(12);
  for (auto n : widths) {
    const auto gate = random_floats(random, n, 4), up = random_floats(random, n);
    const auto y = same_on_all_paths([&](const kernel_table& k) {
      std::vector<float> out(n);
      k.geglu(gate.data(), up.data(), n, out.data());
      return out;
    });
    std::vector<double> expected(n);
    naive::geglu(gate.data(), up.data(), n, expected.data());
    for (std::uint32_t i = 0; i < n; ++i) EXPECT_NEAR(y[i], expected[i], 1e-5);
  }
}

TEST(engine_kernels, rotation_turns_each_pair_by_its_angle) {
  std::mt19937 random(3);
  for (std::uint32_t n : {2u, 8u, 12u, 34u, 64u}) {
    const auto x = random_floats(random, n), angles = random_floats(random, n / 2);
    std::vector<float> c, s;
    for (float a : angles) c.push_back(std::cos(a)), s.push_back(std::sin(a));
    const auto y = same_on_all_paths([&](const kernel_table& k) {
      auto head = x;
      k.rotate(head.data(), c.data(), s.data(), n);
      return head;
    });
    std::vector<double> expected(n);
    naive::rotate(x.data(), c.data(), s.data(), n, expected.data());
    for (std::uint32_t i = 0; i < n; ++i) EXPECT_NEAR(y[i], expected[i], 1e-6);
  }
}

TEST(engine_kernels, quantised_rows_stand_for_their_floats_and_outliers_keep_15_bits) {
  std::mt19937 random(4);
  for (auto in : widths) {
    const std::uint32_t hi = in >= 8 ? in / 8 : 0;
    const auto p = naive::random_product(random, in, 1, hi);
    auto x = random_floats(random, in);
    for (auto k : p.index) x[k] *= 50;
    const auto before = x;
    activations rows(2, in, hi);
    (void)same_on_all_paths([&](const kernel_table& k) {
      k.quantise(x.data(), p.view, rows.view, 1);
      std::vector<float> out;
      for (std::uint32_t i = 0; i < in; ++i)
        out.push_back(static_cast<float>(naive::activation(rows, p.view, 1, i)));
      return out;
    });
    EXPECT_EQ(before, x);
    std::vector<std::int32_t> integers;
    EXPECT_FLOAT_EQ(naive::quantise(x.data(), p.view, integers), rows.scales[1]);
    for (std::uint32_t i = 0; i < in; ++i)
      EXPECT_NEAR(naive::activation(rows, p.view, 1, i), x[i], rows.scales[1] * 0.5001)
          << in << " " << i;
  }
}

TEST(engine_kernels, a_row_of_zeros_quantises_to_zeros) {
  std::mt19937 random(4);
  const auto p = naive::random_product(random, 24, 1, 4);
  std::vector<float> x(24, 0.0f);
  activations rows(1, 24, 4);
  for (const auto* k : kernel_paths()) {
    k->quantise(x.data(), p.view, rows.view, 0);
    for (std::uint32_t i = 0; i < 24; ++i) EXPECT_EQ(0.0, naive::activation(rows, p.view, 0, i));
  }
}

void copy_row(const std::uint8_t* from, std::uint32_t groups, std::uint8_t* to) {
  for (std::uint32_t g = 0; g < groups; ++g)
    std::memcpy(to + std::size_t{g} * panel_bytes, from + std::size_t{g} * panel_bytes,
                group_inputs);
}

struct gemm_shape {
  std::uint32_t rows, in, out, hi;
  bool four_bit = false;
};

class engine_gemm : public testing::TestWithParam<gemm_shape> {};

TEST_P(engine_gemm, matches_the_naive_product_and_no_row_depends_on_its_neighbours) {
  const auto [rows, in, out, hi, four_bit] = GetParam();
  std::mt19937 random(5);
  const auto p = naive::random_product(random, in, out, hi, four_bit);
  activations x(rows, in, hi);
  for (std::uint32_t r = 0; r < rows; ++r) {
    auto row = random_floats(random, in);
    kernels().quantise(row.data(), p.view, x.view, r);
  }
  const auto y = same_on_all_paths([&](const kernel_table& k) {
    std::vector<float> all(std::size_t{rows} * out, -1.0f);
    k.gemm(x.view, rows, p.view, 0, out, all.data(), out);
    return all;
  });
  std::vector<double> expected(out);
  for (std::uint32_t r = 0; r < rows; ++r) {
    naive::gemm_row(x, p, r, expected.data());
    for (std::uint32_t o = 0; o < out; ++o)
      EXPECT_NEAR(y[std::size_t{r} * out + o], expected[o], 1e-6 * (1 + std::fabs(expected[o])));
  }
  for (std::uint32_t r = 0; r < rows; ++r) {  // alone, and in two halves of the outputs
    activations one(1, in, hi);
    copy_row(x.view.lo_row(r), p.view.groups(), one.view.lo);
    copy_row(x.view.hi_row(r), p.view.hi_groups(), one.view.hi);
    one.scales[0] = x.scales[r];
    std::vector<float> alone(out);
    const std::uint32_t half = out / 2 / tile_outputs * tile_outputs;
    kernels().gemm(one.view, 1, p.view, 0, half, alone.data(), out);
    kernels().gemm(one.view, 1, p.view, half, out, alone.data(), out);
    EXPECT_EQ(0, std::memcmp(alone.data(), y.data() + std::size_t{r} * out, out * sizeof(float)))
        << r;
  }
}

INSTANTIATE_TEST_SUITE_P(
    shapes, engine_gemm,
    testing::Values(gemm_shape{0, 8, 4, 0}, gemm_shape{1, 1, 1, 0}, gemm_shape{1, 24, 97, 4},
                    gemm_shape{3, 40, 13, 8}, gemm_shape{5, 33, 7, 0}, gemm_shape{7, 64, 29, 16},
                    gemm_shape{16, 100, 31, 20}, gemm_shape{17, 56, 12, 12},
                    gemm_shape{33, 130, 27, 4}, gemm_shape{35, 576, 60, 48},
                    gemm_shape{50, 63, 5, 3}, gemm_shape{64, 1536, 16, 96},
                    gemm_shape{151, 40, 29, 8}, gemm_shape{42, 1536, 20, 96},
                    gemm_shape{42, 1536, 20, 96, true}, gemm_shape{1, 40, 29, 40},
                    gemm_shape{9, 1538, 48, 1538}, gemm_shape{1, 64, 29, 16, true},
                    gemm_shape{1, 1536, 65, 1536, true}, gemm_shape{7, 96, 70, 0, true},
                    gemm_shape{33, 576, 100, 48, true}, gemm_shape{9, 1536, 48, 1536, true},
                    gemm_shape{3, 96, 33, 16, true}, gemm_shape{6, 576, 48, 48, true},
                    gemm_shape{11, 64, 29, 0, true}, gemm_shape{16, 576, 20, 48, true},
                    gemm_shape{17, 96, 70, 8, true}, gemm_shape{2, 96, 17, 96, true},
                    gemm_shape{8, 1536, 33, 1536, true}));

TEST(engine_kernels, a_row_of_four_bits_is_dequantised_as_its_bytes_say) {
  std::mt19937 random(15);
  const auto p = naive::random_product(random, 96, 20, 16, true);
  for (std::uint32_t o = 0; o < 20; ++o) {
    const auto row = same_on_all_paths([&](const kernel_table& k) {
      std::vector<float> out(96);
      k.dequantise_row(p.view, o, 2.0f, out.data());
      return out;
    });
    for (std::uint32_t k = 0; k < 96; ++k)
      EXPECT_EQ(static_cast<float>(p.w[o * 96 + k]) * (p.scale[o] * 2.0f), row[k]);
  }
}

/// Numbers with few enough bits for half precision.
std::vector<float> short_floats(std::mt19937& random, std::size_t n) {
  auto v = random_floats(random, n);
  for (auto& x : v) x = std::nearbyint(x * 64) / 64;
  return v;
}

std::vector<half> halves_of(const std::vector<float>& x) {
  std::vector<half> out(x.size());
  kernels().to_halves(x.data(), static_cast<std::uint32_t>(x.size()), out.data());
  return out;
}

TEST(engine_kernels, lora_is_scale_x_at_bt_in_any_range_of_outputs) {
  std::mt19937 random(6);
  for (std::uint32_t rank : {1u, 3u, 4u, 8u, 13u})
    for (std::uint32_t in : {1u, 24u, 33u}) {
      const std::uint32_t out = 37;
      const auto x = random_floats(random, in), a = short_floats(random, std::size_t{rank} * in);
      const auto bt = short_floats(random, std::size_t{rank} * out),
                 start = random_floats(random, out);
      const auto half_a = halves_of(a), half_bt = halves_of(bt);
      const auto y = same_on_all_paths([&](const kernel_table& k) {
        std::vector<float> t(rank), to = start;
        k.lora_down(x.data(), half_a.data(), in, rank, 0.5f, t.data());
        k.lora_up(t.data(), half_bt.data(), rank, out, 0, 19, to.data());
        k.lora_up(t.data(), half_bt.data(), rank, out, 19, out, to.data());
        return to;
      });
      std::vector<double> expected(start.begin(), start.end());
      naive::lora(x.data(), {a.data(), bt.data(), in, out, rank, 0.5}, expected.data());
      for (std::uint32_t o = 0; o < out; ++o) EXPECT_NEAR(y[o], expected[o], 1e-4);
    }
}

TEST(engine_kernels, halves_are_the_nearest_ties_to_even_and_overflow_to_infinity) {
  const std::vector<float> x = {
      0,       1,     -2.5f,           65504,           65520,           1e9f, -1e9f,    6e-8f,
      2.9e-8f, 1e-5f, 1 + 1.0f / 2048, 1 + 3.0f / 2048, 1 + 1.0f / 1024, 0.1f, 3.14159f, -7e-5f,
      33};
  const std::vector<std::uint16_t> bits = {0x0000, 0x3c00, 0xc100, 0x7bff, 0x7c00, 0x7c00,
                                           0xfc00, 0x0001, 0x0000, 0x00a8, 0x3c00, 0x3c02,
                                           0x3c01, 0x2e66, 0x4248, 0x8496, 0x5020};
  for (const auto* k : kernel_paths()) {
    std::vector<half> y(x.size());
    k->to_halves(x.data(), static_cast<std::uint32_t>(x.size()), y.data());
    for (std::size_t i = 0; i < x.size(); ++i)
      EXPECT_EQ(bits[i], static_cast<std::uint16_t>(y[i])) << k->name << " " << x[i];
  }
}

/// Keys and values in pages whose blocks lie in a shuffled order, and plain copies of them.
struct paged {
  paged(std::mt19937& random, std::uint32_t positions, std::uint32_t dim) {
    const std::uint32_t count = (positions + block_positions - 1) / block_positions;
    stride = std::size_t{2} * block_positions * dim;
    pages.assign(stride * count, 0.0f);
    for (std::uint32_t b = 0; b < count; ++b) blocks.push_back(count - 1 - b);
    for (std::uint32_t p = 0; p < positions; ++p) {
      keys.push_back(short_floats(random, dim));
      values.push_back(short_floats(random, dim));
      float* page = pages.data() + blocks[p / block_positions] * stride;
      for (std::uint32_t d = 0; d < dim; ++d) {
        page[d * block_positions + p % block_positions] = keys[p][d];
        page[stride / 2 + (p % block_positions) * dim + d] = values[p][d];
      }
    }
  }
  /// The same in half precision: pages hold numbers that halves can, so nothing is lost.
  std::vector<half> narrow() const {
    std::vector<half> to(pages.size());
    kernels().to_halves(pages.data(), static_cast<std::uint32_t>(pages.size()), to.data());
    return to;
  }
  std::vector<float> pages;
  std::vector<std::uint32_t> blocks;
  std::vector<std::vector<float>> keys, values;
  std::size_t stride;
};

struct attention_case {
  std::uint32_t position, rows, dim, window;
  bool halves;
};

void expect_naive_attention(const attention_case& c) {
  const auto [position, rows, dim, window, halves] = c;
  const std::uint32_t group = 3;
  std::mt19937 random(7);
  const paged kv(random, position + rows, dim);
  const auto q = random_floats(random, std::size_t{rows} * group * dim);
  std::vector<float> scratch(attention_scratch_floats(position + rows, dim));
  attention_task task;
  task.q = q.data();
  task.q_stride = task.out_stride = std::size_t{group} * dim;
  task.rows = rows, task.group = group, task.head_dim = dim, task.position = position;
  task.window = window;
  task.blocks = kv.blocks.data();
  task.block_stride = kv.stride;
  task.halves = halves;
  const auto narrow = kv.narrow();
  if (halves)
    task.keys = narrow.data(), task.values = narrow.data() + kv.stride / 2;
  else
    task.keys = kv.pages.data(), task.values = kv.pages.data() + kv.stride / 2;
  task.scratch = scratch.data();
  const auto y = same_on_all_paths([&](const kernel_table& k) {
    std::vector<float> out(q.size());
    task.out = out.data();
    k.attend(task);
    return out;
  });
  for (std::uint32_t pair = 0; pair < rows * group; ++pair) {
    const auto expected = naive::attention(q.data() + pair * dim, kv.keys, kv.values,
                                           position + pair / group + 1, window);
    for (std::uint32_t d = 0; d < dim; ++d)
      EXPECT_NEAR(y[pair * dim + d], expected[d], 1e-5) << pair;
  }
  for (std::uint32_t r = 0; r < rows; ++r) {
    std::vector<float> alone(std::size_t{group} * dim);
    auto one = task;
    one.q += r * task.q_stride, one.out = alone.data(), one.rows = 1, one.position = position + r;
    kernels().attend(one);
    EXPECT_EQ(0,
              std::memcmp(alone.data(), y.data() + r * alone.size(), alone.size() * sizeof(float)))
        << r;
  }
}

class engine_attention : public testing::TestWithParam<std::uint32_t> {};

TEST_P(engine_attention, matches_the_naive_one_and_gives_a_row_the_same_bytes_alone) {
  for (const auto position : {0u, 1u, 15u, 16u, 70u})
    for (const auto rows : {1u, 2u, 5u, 20u})
      for (const auto window : {0u, 1u, 6u, 33u})
        for (const bool halves : {false, true}) {
          SCOPED_TRACE("position " + std::to_string(position) + ", rows " + std::to_string(rows) +
                       ", window " + std::to_string(window) + (halves ? ", halves" : ""));
          expect_naive_attention({position, rows, GetParam(), window, halves});
        }
}

TEST(engine_kernels, a_row_of_attention_knows_nothing_of_values_that_it_does_not_see) {
  const std::uint32_t rows = 4, dim = 32, position = 14;
  std::mt19937 random(9);
  paged kv(random, position + rows, dim);
  const auto q = random_floats(random, std::size_t{rows} * dim);
  std::vector<float> scratch(attention_scratch_floats(position + rows, dim));
  attention_task task{.q = q.data(), .q_stride = dim, .out_stride = dim, .rows = rows, .group = 1};
  task.head_dim = dim, task.position = position, task.window = 3;
  task.blocks = kv.blocks.data(), task.block_stride = kv.stride, task.scratch = scratch.data();
  task.keys = kv.pages.data(), task.values = kv.pages.data() + kv.stride / 2;
  const auto row_1 = [&](const kernel_table& k) {
    std::vector<float> out(q.size());
    task.out = out.data();
    k.attend(task);
    return std::vector<float>(out.begin() + dim, out.begin() + 2 * dim);
  };
  const auto before = same_on_all_paths(row_1);
  for (const auto at : {12u, 16u, 17u})  // row 1 stands at 15 and sees 13, 14, 15
    kv.pages[kv.blocks[at / block_positions] * kv.stride + kv.stride / 2 +
             at % block_positions * dim] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(before, same_on_all_paths(row_1));
}

INSTANTIATE_TEST_SUITE_P(widths, engine_attention, testing::Values(2u, 8u, 12u, 32u, 64u, 80u));

}  // namespace
}  // namespace collm::engine
