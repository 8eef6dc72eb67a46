// The design's vectors for aggregation, strategies and updates.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "federation/exact_sum.hpp"
#include "federation/small_matrix.hpp"
#include "tests/support/federated_cohort.hpp"

namespace collm::federation {
namespace {

/// Two clients of one 2x2 matrix, weights 1/4 and 3/4, parent 0.
cohort two_clients() {
  cohort c;
  c.shape = {{{1, 2, 2, 1.0f}}};
  c.parent.assign(4, 0.0f);
  c.add({1, 0, 1, 2}, 100, 0, c.shape, "one");  // A (1, 0), B (1, 2)T
  c.add({1, 2, 3, -1}, 300, 0, c.shape, "two");
  return c;
}

void expect_product(const adapter_shape& shape, const std::vector<float>& factors,
                    std::vector<double> expected) {
  const auto made = dense_product(shape, factors, 0);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(made[i], expected[i], 1e-5 * 5) << i;
}

TEST(exact_sum, follows_the_vector) {
  const std::int64_t tokens[] = {100, 300, 200};
  const std::uint32_t staleness[] = {0, 1, 3};
  const float change[] = {.1f, -.2f, .3f};
  const std::int64_t weights[] = {1600, 3394, 1600};
  exact_sum s(1);
  for (int i = 0; i < 3; ++i) {
    const auto w = update_weight(static_cast<std::uint64_t>(tokens[i]), staleness[i]);
    EXPECT_EQ(w, weights[i]);
    ASSERT_TRUE(s.add_weight(w));
    s.add(0, {&change[i], 1}, w);
  }
  EXPECT_EQ(s.sums()[0], -162740634);
  EXPECT_NEAR(s.mean(0), -.00588420, 1e-8);
  EXPECT_NEAR(weights[0] / double(s.weights()), .242645, 1e-6);
}

TEST(exact_sum, holds_the_largest_cohort_and_refuses_one_more) {
  exact_sum s(1);
  const auto w = update_weight(samples_max, 0);
  const float most = 16;
  std::uint32_t fitted = 0;
  while (s.add_weight(w)) {
    s.add(0, {&most, 1}, w);
    ++fitted;
  }
  EXPECT_EQ(fitted, updates_max - 1);
  EXPECT_NEAR(s.mean(0), 16, 1e-9);
  EXPECT_EQ(update_weight(std::uint64_t{samples_max} * 9, 0), w);
}

TEST(aggregation, fedavg_is_biased_as_the_vector_says) {
  auto c = two_clients();
  const strategy s{.aggregate = aggregate_mode::fedavg};
  const auto made = c.run(s);
  ASSERT_TRUE(made);
  expect_product(c.shape, made->factors, {2.5, 3.75, -.25, -.375});
  EXPECT_NEAR(*made->error, .251891, 1e-6);
}

TEST(aggregation, stack_svd_keeps_the_best_direction) {
  auto c = two_clients();
  const auto made = c.run({.aggregate = aggregate_mode::stack_svd});
  ASSERT_TRUE(made);
  expect_product(c.shape, made->factors, {2.382296, 4.561473, -.669087, -1.281126});
  EXPECT_NEAR(*made->error, .0914900, 1e-6);
}

TEST(aggregation, p18_stack_svd_joins_unequal_ranks_and_hands_out_first_directions) {
  cohort c;
  c.shape = {{{2, 2, 2, 1.0f}}};
  const adapter_shape small{{{1, 2, 2, 1.0f}}};
  c.parent.assign(8, 0.0f);
  c.add({1, 0, 1, 2}, 100, 0, small, "one");
  c.add({1, 2, 0, 4, 3, 1, -1, 0}, 300, 0, c.shape, "two");  // B (3 1; -1 0)
  const auto made = c.run({.aggregate = aggregate_mode::stack_svd});
  ASSERT_TRUE(made);
  expect_product(c.shape, made->factors, {2.5, 7.5, -.25, -1.5});
  EXPECT_LE(*made->error, 1e-6);
  const auto first = first_directions(c.shape, made->factors, small);
  ASSERT_TRUE(first);
  expect_product(small, *first, {2.458630, 7.513537, -.467546, -1.428813});
  // Another scale at the client: the product it sees is the same.
  const adapter_shape scaled{{{1, 2, 2, 4.0f}}};
  expect_product(scaled, *first_directions(c.shape, made->factors, scaled),
                 {2.458630, 7.513537, -.467546, -1.428813});
  EXPECT_FALSE(first_directions(small, *first, c.shape));
}

TEST(aggregation, a_client_of_a_smaller_rank_forgets_nothing_that_it_never_saw) {
  cohort c;
  c.shape = {{{2, 2, 2, 1.0f}}};
  const adapter_shape small{{{1, 2, 2, 1.0f}}};
  c.parent = {1, 0, 0, 1, 2, 0, 0, 3};  // product diag(2, 3)
  c.add(std::vector<float>(4, 0.0f), 100, 0, small, "small");
  c.add(std::vector<float>(8, 0.0f), 100, 0, c.shape, "whole");
  const auto made = c.run({.aggregate = aggregate_mode::stack_svd});
  ASSERT_TRUE(made);
  expect_product(c.shape, made->factors, {2, 0, 0, 3});
}

TEST(aggregation, stack_svd_leaves_no_direction_dead) {
  cohort c;
  c.shape = {{{2, 3, 3, 1.0f}}};
  std::mt19937_64 rng(6);
  c.parent = random_floats(rng, c.shape.count(), 1);
  for (std::size_t i = 6; i < 12; ++i) c.parent[i] = 0;  // B = 0
  c.add(std::vector<float>(12, 0.0f), 10, 0, c.shape, "idle");
  const auto made = c.run({.aggregate = aggregate_mode::stack_svd});
  ASSERT_TRUE(made);
  EXPECT_EQ(made->factors, c.parent);
}

TEST(aggregation, robust_rules_follow_the_vector) {
  for (const auto& [rule, centre] :
       {std::pair{robust_rule::trimmed_mean, 3.0f}, std::pair{robust_rule::median, 3.0f}}) {
    cohort c;
    c.shape = {{{1, 1, 1, 1.0f}}};
    c.trained = trained_factors::b_only;
    c.parent = {1, 0};
    int n = 0;
    for (float v : {1.f, 2.f, 3.f, 4.f, 100.f}) {
      ++n;
      c.add({v}, 10 * n, 0, c.shape, std::to_string(n));
    }
    const strategy s{.aggregate = aggregate_mode::ffa, .robust = rule, .trim = 1};
    EXPECT_EQ(c.run(s)->factors[1], centre);
    c.updates.resize(2);
    EXPECT_EQ(static_cast<bool>(c.run(s)), rule == robust_rule::median);
    if (rule == robust_rule::median) {
      EXPECT_EQ(c.run(s)->factors[1], 1.5f);
    }
  }
}

TEST(aggregation, leaving_one_client_out_is_the_round_without_it) {
  const strategy s{.aggregate = aggregate_mode::rolora};
  auto all = random_cohort(s, 0, 4, 9), three = random_cohort(s, 0, 3, 9);
  all.updates.pop_back();
  EXPECT_EQ(all.run(s)->factors, three.run(s)->factors);
}

TEST(strategy, refuses_what_cannot_go_together) {
  using enum aggregate_mode;
  EXPECT_TRUE(check({.aggregate = rolora, .robust = robust_rule::median}, false));
  EXPECT_TRUE(check({.aggregate = stack_svd}, true));
  EXPECT_TRUE(check({.aggregate = fedavg, .fedbuff = true}, false));
  EXPECT_FALSE(check({.aggregate = stack_svd, .fedbuff = true}, false));
  EXPECT_FALSE(check({.aggregate = ffa, .fedbuff = true, .robust = robust_rule::median}, false));
  EXPECT_FALSE(check({.aggregate = fedavg, .robust = robust_rule::median}, false));
  EXPECT_FALSE(check({.aggregate = stack_svd, .robust = robust_rule::trimmed_mean}, false));
  EXPECT_FALSE(check({.aggregate = rolora}, true));
  EXPECT_FALSE(check({.robust = robust_rule::trimmed_mean, .trim = 0}, false));
}

TEST(strategy, rolora_trains_b_first_and_then_takes_turns) {
  const strategy s;
  EXPECT_EQ(trained_in(s, 0), trained_factors::b_only);
  EXPECT_EQ(trained_in(s, 1), trained_factors::a_only);
  EXPECT_EQ(trained_in(s, 2), trained_factors::b_only);
  EXPECT_EQ(trained_in({.aggregate = aggregate_mode::ffa}, 1), trained_factors::b_only);
  EXPECT_EQ(trained_in({.aggregate = aggregate_mode::fedavg}, 1), trained_factors::both);
}

TEST(small_matrix, qr_and_svd_give_the_matrix_back) {
  std::mt19937_64 rng(17);
  std::normal_distribution<double> z;
  const std::vector<std::pair<std::size_t, std::size_t>> sizes = {
      {1, 1}, {6, 3}, {3, 6}, {8, 8}, {40, 12}};
  for (const auto& [rows, columns] : sizes) {
    matrix m(rows, columns);
    for (double& v : m.values) v = z(rng);
    const auto qr = qr_of(m);
    const auto back = product(qr.q, qr.s);
    const auto gram = product(transposed(qr.q), qr.q);
    for (std::size_t i = 0; i < m.values.size(); ++i)
      EXPECT_NEAR(back.values[i], m.values[i], 1e-12);
    for (std::size_t i = 0; i < gram.rows; ++i)
      for (std::size_t j = 0; j < gram.columns; ++j) EXPECT_NEAR(gram(i, j), i == j ? 1 : 0, 1e-12);
    const auto s = svd_of(m);
    EXPECT_TRUE(std::is_sorted(s.values.rbegin(), s.values.rend()));
    matrix scaled = s.left;
    for (std::size_t i = 0; i < scaled.rows; ++i)
      for (std::size_t j = 0; j < scaled.columns; ++j) scaled(i, j) *= s.values[j];
    const auto again = product_transposed(scaled, s.right);
    for (std::size_t i = 0; i < m.values.size(); ++i)
      EXPECT_NEAR(again.values[i], m.values[i], 1e-12);
  }
}

TEST(small_matrix, a_matrix_of_small_rank_has_zeros_and_no_nan) {
  matrix m(5, 4);
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t j = 0; j < 4; ++j) m(i, j) = double(i + 1) * double(j);
  const auto s = svd_of(m);
  EXPECT_GT(s.values[0], 1);
  for (std::size_t k = 1; k < 4; ++k) EXPECT_NEAR(s.values[k], 0, 1e-12);
  for (double v : svd_of(matrix(3, 3)).left.values) EXPECT_EQ(v, 0);
  for (double v : qr_of(matrix(4, 2)).s.values) EXPECT_EQ(v, 0);
}

TEST(small_matrix, vectors_singular_values_are_known) {
  matrix m(2, 2);
  m.values = {2.5, 4.5, -.25, -1.5};
  const auto s = svd_of(m);
  EXPECT_NEAR(s.values[0], 5.345215, 1e-6);
  EXPECT_NEAR(s.values[1], .491093, 1e-6);
}

update_terms terms() {
  return {.adapter = "assistant",
          .base_digest = "base",
          .parent = 4,
          .parent_digest = "parent",
          .trained = trained_factors::b_only,
          .shape = small_shape(),
          .how = {.aggregate = aggregate_mode::rolora},
          .median_norm = 0};
}

update_header header() {
  return {.client = "edge-a/0",
          .round = 2,
          .attempt = 0,
          .adapter = "assistant",
          .base_digest = "base",
          .parent = 4,
          .parent_digest = "parent",
          .trained = trained_factors::b_only,
          .tokens = 900,
          .values = small_shape().count(trained_factors::b_only),
          .digest = "d",
          .ranks = {}};
}

TEST(update, a_right_header_is_taken_and_each_wrong_field_refused_by_name) {
  EXPECT_TRUE(check_header(header(), terms(), 0));
  const auto refusal = [](auto change, std::uint32_t staleness = 0) {
    auto h = header();
    change(h);
    const auto r = check_header(h, terms(), staleness);
    return r ? std::string() : r.failure().message;
  };
  EXPECT_NE(refusal([](auto& h) { h.adapter = "other"; }).find("adapter"), std::string::npos);
  EXPECT_NE(refusal([](auto& h) { h.base_digest = "x"; }).find("base"), std::string::npos);
  EXPECT_NE(refusal([](auto& h) { h.parent = 3; }).find("parent"), std::string::npos);
  EXPECT_NE(refusal([](auto& h) { h.parent_digest = "x"; }).find("digest"), std::string::npos);
  EXPECT_NE(refusal([](auto& h) { h.trained = trained_factors::a_only; }).find("trained"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& h) { h.tokens = -1; }).find("token"), std::string::npos);
  EXPECT_NE(refusal([](auto& h) { h.values -= 1; }).find("values"), std::string::npos);
  EXPECT_NE(refusal([](auto& h) { h.ranks = {2, 2}; }).find("rank"), std::string::npos);
  EXPECT_NE(refusal([](auto&) {}, 1).find("parent"), std::string::npos);
}

TEST(update, fedbuff_takes_what_is_up_to_ten_versions_behind) {
  auto t = terms();
  t.how.fedbuff = true;
  auto h = header();
  h.parent = 1;
  h.parent_digest = "older";
  EXPECT_TRUE(check_header(h, t, 10));
  EXPECT_FALSE(check_header(h, t, 11));
}

TEST(update, stack_svd_takes_own_ranks_up_to_the_adapters) {
  auto t = terms();
  t.how.aggregate = aggregate_mode::stack_svd;
  t.trained = trained_factors::both;
  auto h = header();
  h.trained = trained_factors::both;
  h.ranks = {1, 2};
  h.values = shape_of(h, t.shape)->count();
  EXPECT_TRUE(check_header(h, t, 0));
  h.ranks = {1, 4};
  EXPECT_FALSE(check_header(h, t, 0));
  h.ranks = {1};
  EXPECT_FALSE(check_header(h, t, 0));
}

TEST(update, values_that_are_no_numbers_or_too_large_are_refused_by_place) {
  const auto refusal = [](float bad, double median = 0) {
    std::vector<float> v(100, 0.5f);
    v[37] = bad;
    memory_source source(v);
    auto t = terms();
    t.median_norm = median;
    const auto r = check_values(source, t);
    return r ? std::string() : r.failure().message;
  };
  EXPECT_EQ(refusal(0.5f), "");
  EXPECT_EQ(refusal(16.0f), "");
  EXPECT_NE(refusal(16.001f).find("value 37"), std::string::npos);
  EXPECT_NE(refusal(std::numeric_limits<float>::infinity()).find("value 37"), std::string::npos);
  EXPECT_NE(refusal(std::numeric_limits<float>::quiet_NaN()).find("value 37"), std::string::npos);
  EXPECT_EQ(refusal(0.5f, 0.51), "");  // norm 5
  EXPECT_NE(refusal(0.5f, 0.49).find("norm"), std::string::npos);
}

}  // namespace
}  // namespace collm::federation
