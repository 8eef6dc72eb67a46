#include "coordinator/unit_times.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace collm::coordinator {
namespace {

constexpr auto forward = unit_kind::layer_forward;

unit_times table(double margin = 0) { return unit_times({.margin = margin}); }

unit_times with_two_columns() {
  auto t = table();
  EXPECT_TRUE(t.observe({forward, 64, 10}));
  EXPECT_TRUE(t.observe({forward, 128, 18}));
  return t;
}

/// Every kind of a batch at every column: `ms_per_token` each, the optimizer step 3 ms.
unit_times machine(double ms_per_token) {
  auto t = table();
  for (auto kind : {unit_kind::layer_forward, unit_kind::layer_backward, unit_kind::loss_head})
    for (auto tokens : unit_times::columns) t.observe({kind, tokens, ms_per_token * tokens});
  t.observe({unit_kind::optimizer_step, 0, 3});
  return t;
}

TEST(unit_times, a_measurement_moves_both_columns_by_its_nearness) {
  auto t = with_two_columns();
  t.observe({forward, 96, 16});
  EXPECT_NEAR(t.mean_ms(forward, 64), 10.1, 1e-9);
  EXPECT_NEAR(t.mean_ms(forward, 128), 18.1, 1e-9);
  t = with_two_columns();
  t.observe({forward, 80, 16});
  EXPECT_NEAR(t.mean_ms(forward, 64), 10.24, 1e-9);
  EXPECT_NEAR(t.mean_ms(forward, 128), 18.08, 1e-9);
}

TEST(unit_times, between_columns_it_is_linear_and_beyond_them_wary) {
  const auto t = with_two_columns();
  EXPECT_NEAR(t.mean_ms(forward, 96), 14, 1e-9);
  EXPECT_NEAR(t.mean_ms(forward, 1), 10, 1e-9);    // level below what was measured
  EXPECT_NEAR(t.mean_ms(forward, 256), 36, 1e-9);  // proportional above
  EXPECT_NEAR(t.mean_ms(forward, 1024), 144, 1e-9);
}

// What a unit of few rows takes is mostly what every unit takes.
TEST(unit_times, a_first_unit_of_few_tokens_does_not_make_long_ones_look_dear) {
  auto t = table();
  t.observe({forward, 4, 3});
  EXPECT_NEAR(t.mean_ms(forward, 16), 3, 1e-9);
  EXPECT_NEAR(t.mean_ms(forward, 128), 24, 1e-9);
}

TEST(unit_times, never_falls_with_tokens_whatever_is_measured) {
  std::mt19937_64 rng(11);
  std::uniform_real_distribution<double> ms(0.1, 50);
  std::uniform_int_distribution<std::uint32_t> tokens(1, 600);
  auto t = table();
  for (int i = 0; i < 20000; ++i) {
    t.observe({forward, tokens(rng), ms(rng)});
    for (std::size_t c = 1; c < unit_times::columns.size(); ++c)
      ASSERT_LE(t.mean_ms(forward, unit_times::columns[c - 1]),
                t.mean_ms(forward, unit_times::columns[c]));
  }
}

TEST(unit_times, the_bound_covers_most_units) {
  std::mt19937_64 rng(5);
  std::lognormal_distribution<double> noise(0, 0.06);
  std::uniform_int_distribution<std::uint32_t> tokens(16, 512);
  auto t = machine(0.05);
  int below = 0;
  for (int i = 0; i < 6000; ++i) {
    const auto n = tokens(rng);
    const double ms = 0.05 * n * noise(rng);
    if (i >= 2000) below += ms <= t.bound_ms(forward, n) ? 1 : 0;
    t.observe({forward, n, ms});
  }
  EXPECT_NEAR(below / 4000.0, 0.95, 0.02);
}

TEST(unit_times, margins_are_of_their_kind_alone) {
  auto t = machine(0.1);
  for (int i = 0; i < 100; ++i) t.observe({unit_kind::loss_head, 64, 20});
  EXPECT_GT(t.margin(unit_kind::loss_head), 0.1);
  EXPECT_EQ(t.margin(forward), 0);
}

TEST(unit_times, window_and_head_are_halved_until_every_unit_fits) {
  const auto t = machine(0.1);  // 25.6 ms at 256
  EXPECT_EQ(*t.sizes_for(30, {256, 256}), (unit_sizes{256, 256}));
  EXPECT_EQ(*t.sizes_for(20, {256, 32}), (unit_sizes{128, 32}));
  EXPECT_EQ(*t.sizes_for(4, {256, 512}), (unit_sizes{32, 32}));
  EXPECT_DOUBLE_EQ(t.longest_ms({128, 32}), 12.8);
  EXPECT_DOUBLE_EQ(t.longest_ms({64, 128}), 12.8);
}

// A row of the head costs the vocabulary, so slow machines need pieces of few.
TEST(unit_times, a_head_may_have_fewer_rows_than_a_layer) {
  unit_times slow_head({.margin = 0});
  for (auto kind : {forward, unit_kind::layer_backward}) slow_head.observe({kind, 16, 2});
  slow_head.observe({unit_kind::optimizer_step, 0, 3});
  for (std::uint32_t rows : {4, 8, 16, 32})
    slow_head.observe({unit_kind::loss_head, rows, 6 + 2.0 * rows});
  EXPECT_EQ(*slow_head.sizes_for(23, {16, 32}), (unit_sizes{16, 8}));
  EXPECT_EQ(*slow_head.sizes_for(15, {16, 32}), (unit_sizes{16, 4}));
  const auto refused = slow_head.sizes_for(10, {16, 32});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.failure().message.find("loss_head of 4 tokens takes 14.0 ms"),
            std::string::npos)
      << refused.failure().message;
}

TEST(unit_times, what_cannot_fit_is_refused_by_name) {
  const auto t = machine(0.1);
  const auto step = t.sizes_for(2.5, {});  // rows of 16 would fit, the optimizer step does not
  ASSERT_FALSE(step);
  EXPECT_NE(step.failure().message.find("optimizer_step"), std::string::npos);
  const auto forwards = machine(10).sizes_for(100, {});
  ASSERT_FALSE(forwards);
  EXPECT_NE(forwards.failure().message.find("layer_forward of 16 tokens takes 160.0 ms"),
            std::string::npos)
      << forwards.failure().message;
  const auto none = table().sizes_for(20, {});
  ASSERT_FALSE(none);
  EXPECT_NE(none.failure().message.find("measured"), std::string::npos);
}

TEST(unit_times, refuses_times_that_are_none) {
  auto t = with_two_columns();
  EXPECT_FALSE(t.observe({forward, 64, std::numeric_limits<double>::quiet_NaN()}));
  EXPECT_FALSE(t.observe({forward, 64, 0}));
  EXPECT_FALSE(t.observe({forward, 64, -2}));
  EXPECT_NEAR(t.mean_ms(forward, 64), 10, 1e-12);
  EXPECT_TRUE(std::isinf(t.bound_ms(unit_kind::loss_head, 16)));
}

}  // namespace
}  // namespace collm::coordinator
