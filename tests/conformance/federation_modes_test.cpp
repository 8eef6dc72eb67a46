// One suite for every way to make many updates one (T7.1 to T7.8 of the design).
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "tests/support/federated_cohort.hpp"

namespace collm::federation {
namespace {

struct mode {
  std::string name;
  strategy how;
  std::uint32_t phase = 0;
};

std::vector<mode> all_modes() {
  using enum aggregate_mode;
  return {{"fedavg", {.aggregate = fedavg}},
          {"ffa", {.aggregate = ffa}},
          {"rolora_b", {.aggregate = rolora}, 0},
          {"rolora_a", {.aggregate = rolora}, 1},
          {"stack_svd", {.aggregate = stack_svd}},
          {"fedbuff", {.aggregate = rolora, .fedbuff = true}, 0},
          {"trimmed_mean", {.aggregate = ffa, .robust = robust_rule::trimmed_mean}},
          {"median", {.aggregate = rolora, .robust = robust_rule::median}, 1}};
}

class every_mode : public testing::TestWithParam<mode> {
 protected:
  const strategy& how() const { return GetParam().how; }
  cohort clients(std::size_t n, std::uint64_t seed = 1) const {
    return random_cohort(how(), GetParam().phase, n, seed);
  }
  bool robust() const { return how().robust != robust_rule::none; }
};
INSTANTIATE_TEST_SUITE_P(modes, every_mode, testing::ValuesIn(all_modes()),
                         [](auto& info) { return info.param.name; });

TEST_P(every_mode, any_order_gives_the_same_bytes) {
  auto c = clients(5);
  const auto first = c.run(how());
  ASSERT_TRUE(first);
  std::mt19937_64 rng(3);
  for (int i = 0; i < 10; ++i) {
    std::shuffle(c.updates.begin(), c.updates.end(), rng);
    EXPECT_EQ(c.run(how())->factors, first->factors);
  }
}

TEST_P(every_mode, a_single_client_gets_its_own_product_back) {
  if (how().robust == robust_rule::trimmed_mean) GTEST_SKIP() << "needs three";
  const auto c = clients(1);
  const auto made = c.run(how());
  ASSERT_TRUE(made);
  const auto own = after_update(c, 0);
  for (std::size_t p = 0; p < c.shape.pairs.size(); ++p) {
    const auto a = dense_product(c.shape, made->factors, p), b = dense_product(c.shape, own, p);
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 3e-6);
  }
  if (!how().linear()) return;
  for (std::size_t i = 0; i < own.size(); ++i) EXPECT_NEAR(made->factors[i], own[i], 0x1p-21);
}

TEST_P(every_mode, an_update_without_tokens_changes_nothing) {
  auto c = clients(4);
  const auto before = c.run(how());
  std::mt19937_64 rng(8);
  c.add(random_floats(rng, c.shape.count(c.trained), 3.0f), 0, 0, c.shape, "aaa");
  const auto after = c.run(how());
  ASSERT_TRUE(after);
  EXPECT_EQ(after->factors, before->factors);
  EXPECT_EQ(after->weights.back(), 0);
}

TEST_P(every_mode, nothing_that_weighs_is_an_error_and_not_a_version) {
  auto c = clients(3);
  for (auto& u : c.updates) u.tokens = 0;
  const auto made = c.run(how());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.failure().code, errc::conflict);
  c.updates.clear();
  EXPECT_FALSE(c.run(how()));
}

TEST_P(every_mode, a_wrong_size_is_refused_by_name) {
  auto c = clients(3);
  c.add(std::vector<float>(3), 10, 0, c.shape, "short");
  const auto made = c.run(how());
  ASSERT_FALSE(made);
  EXPECT_NE(made.failure().message.find("short"), std::string::npos);
}

TEST_P(every_mode, weights_add_up_to_one_and_fall_with_staleness) {
  auto c = clients(4);
  for (auto& u : c.updates) u.tokens = 1000;
  c.updates[1].staleness = 1;
  c.updates[2].staleness = 3;
  const auto made = c.run(how());
  ASSERT_TRUE(made);
  EXPECT_NEAR(std::accumulate(made->weights.begin(), made->weights.end(), 0.0), 1, 1e-12);
  if (robust()) return;
  EXPECT_GT(made->weights[0], made->weights[1]);
  EXPECT_GT(made->weights[1], made->weights[2]);
}

TEST_P(every_mode, tells_its_error_as_dense_matrices_do) {
  const auto c = clients(4);
  const auto made = c.run(how());
  ASSERT_TRUE(made && made->error);
  EXPECT_NEAR(*made->error, dense_error(c, *made), 1e-6);
  EXPECT_EQ(made->pair_errors.size(), c.shape.pairs.size());
  const bool exact =
      how().aggregate == aggregate_mode::ffa || how().aggregate == aggregate_mode::rolora;
  if (exact && !robust()) {
    EXPECT_LE(*made->error, 1e-6);
  }
  if (how().aggregate == aggregate_mode::fedavg) {
    EXPECT_GT(*made->error, 1e-3);
  }
}

TEST_P(every_mode, one_poisoned_update_moves_only_what_is_not_robust) {
  auto c = clients(5);
  const auto count = c.shape.count(c.trained);
  std::vector<float> low(count, 1e9f), high(count, -1e9f), values(count);
  for (std::size_t u = 0; u + 1 < c.updates.size(); ++u) {
    ASSERT_TRUE(c.updates[u].values->read(0, values));
    for (std::size_t i = 0; i < count; ++i) {
      low[i] = std::min(low[i], values[i]);
      high[i] = std::max(high[i], values[i]);
    }
  }
  ASSERT_TRUE(c.updates.back().values->read(0, values));
  for (float& v : values) v *= 1000;
  memory_source poison(values);
  c.updates.back().values = &poison;
  if (!robust()) return;  // the norm check refuses it there before
  const auto made = c.run(how());
  ASSERT_TRUE(made);
  const auto at = places(c.shape, c.trained);
  for (std::size_t p = 0; p < c.shape.pairs.size(); ++p) {
    const bool b = c.trained == trained_factors::b_only;
    const auto from = b ? at[p].b : at[p].a, update = b ? at[p].update_b : at[p].update_a;
    const auto n = b ? c.shape.pairs[p].b_count() : c.shape.pairs[p].a_count();
    for (std::size_t i = 0; i < n; ++i) {
      const double change = double{made->factors[from + i]} - c.parent[from + i];
      ASSERT_GE(change, low[update + i] - 1e-5);
      ASSERT_LE(change, high[update + i] + 1e-5);
    }
  }
}

TEST_P(every_mode, factors_that_are_not_trained_stay_bit_for_bit) {
  const auto c = clients(4);
  const auto made = c.run(how());
  const auto at = places(c.shape, c.trained);
  for (std::size_t p = 0; p < c.shape.pairs.size(); ++p) {
    if (c.trained == trained_factors::b_only) {
      for (std::size_t i = at[p].a; i < at[p].b; ++i) EXPECT_EQ(made->factors[i], c.parent[i]);
    }
    if (c.trained == trained_factors::a_only) {
      for (std::size_t i = 0; i < c.shape.pairs[p].b_count(); ++i)
        EXPECT_EQ(made->factors[at[p].b + i], c.parent[at[p].b + i]);
    }
  }
}

std::size_t in_use() {
  const auto m = mallinfo2();
  return m.uordblks + m.hblkhd;
}

/// An update whose numbers are made when they are read, as a blob's are.
class made_source final : public update_source {
 public:
  made_source(std::uint64_t count, std::uint32_t seed) : count_(count), seed_(seed) {}
  std::uint64_t count() const override { return count_; }
  result<void> read(std::uint64_t at, std::span<float> out) override {
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<float>((at + i + seed_) % 17) * 0.01f;
    largest_in_use = std::max(largest_in_use, in_use());
    return {};
  }
  static std::size_t largest_in_use;

 private:
  std::uint64_t count_;
  std::uint32_t seed_;
};
std::size_t made_source::largest_in_use = 0;

std::size_t memory_of(const strategy& s, std::uint32_t phase, std::size_t clients) {
  const adapter_shape shape{{{8, 400, 300, 1.0f}, {8, 300, 400, 1.0f}}};
  const auto trained = trained_in(s, phase);
  const std::vector<float> parent(shape.count(), 0.1f);
  std::vector<made_source> sources;
  sources.reserve(clients);
  std::vector<summand> updates;
  for (std::size_t u = 0; u < clients; ++u) {
    sources.emplace_back(shape.count(trained), static_cast<std::uint32_t>(u));
    updates.push_back({std::to_string(u), 100, 0, shape, &sources.back()});
  }
  const auto before = in_use();
  made_source::largest_in_use = 0;
  EXPECT_TRUE(aggregate_updates(s, shape, trained, parent, std::move(updates)));
  return made_source::largest_in_use - before;
}

TEST_P(every_mode, p14_memory_of_linear_modes_does_not_grow_with_clients) {
  if (!how().linear()) {
    auto c = clients(65);  // the others are bounded by their cohort
    const auto made = c.run(how());
    ASSERT_FALSE(made);
    EXPECT_EQ(made.failure().code, errc::too_large);
    return;
  }
  const auto few = memory_of(how(), GetParam().phase, 24);
  const auto many = memory_of(how(), GetParam().phase, 400);
  if (few == 0) GTEST_SKIP() << "this build's allocator does not count";
  // What a client costs is its header; its numbers would be 22 to 45 kB.
  EXPECT_LE(many, few + 400 * 64);
}

}  // namespace
}  // namespace collm::federation
