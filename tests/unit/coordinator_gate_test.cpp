#include "coordinator/gate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "coordinator/statistics.hpp"

namespace collm::coordinator {
namespace {

using pools = std::map<std::string, std::uint32_t>;

gate opened(const gate_options& o, pools p, std::uint32_t guard = 0) {
  auto g = gate::open(o, std::move(p), guard);
  EXPECT_TRUE(g) << g.failure().message;
  return *g;
}

/// Gives every site what it is asked for, drawn by `draw(site)`, until the gate has decided.
template <class Draw>
gate_verdict run(gate g, Draw draw) {
  for (;;) {
    const auto wanted = g.wanted();
    if (wanted.empty()) return g.judge();
    for (const auto& [site, count] : wanted) {
      std::vector<double> d(count);
      for (double& v : d) v = draw(site);
      EXPECT_TRUE(g.add(site, d));
    }
  }
}

TEST(statistics, student_quantiles_are_those_of_the_tables) {
  EXPECT_NEAR(student_quantile(1 - 0.05 / 3, 15), 2.342925, 2e-6);
  EXPECT_NEAR(student_quantile(1 - 0.05 / 3, 31), 2.227170, 2e-6);
  EXPECT_NEAR(student_quantile(1 - 0.05 / 3, 63), 2.175742, 2e-6);
  EXPECT_NEAR(student_quantile(0.95, 7), 1.894579, 2e-6);
  EXPECT_NEAR(student_quantile(0.90, 7), 1.414924, 2e-6);
  EXPECT_NEAR(student_quantile(0.90, 15), 1.340606, 2e-6);
  EXPECT_NEAR(student_quantile(0.90, 31), 1.309464, 2e-6);
  EXPECT_NEAR(student_cdf(student_quantile(0.2, 3.7), 3.7), 0.2, 1e-12);
}

TEST(statistics, fisher_takes_whatever_sites_say_they_counted) {
  constexpr std::uint32_t all = 4'000'000'000;
  EXPECT_EQ(fisher_worse(0, all, all, all), 1);
  EXPECT_LT(fisher_worse(all / 2, all, all / 4, all), 1e-6);
  EXPECT_NEAR(fisher_worse(5, 3, 0, 3), 0.05, 1e-9) << "no more bad ones than there are";
  EXPECT_NEAR(fisher_worse(0, 3, 5, 3), 1, 1e-9);
}

TEST(statistics, fisher_and_welch_follow_the_vectors) {
  EXPECT_NEAR(fisher_worse(6, 50, 50, 950), .0547842, 1e-6);
  EXPECT_NEAR(fisher_worse(7, 50, 50, 950), .0195528, 1e-6);
  EXPECT_NEAR(fisher_worse(3, 20, 50, 950), .0909158, 1e-6);
  EXPECT_NEAR(fisher_worse(4, 20, 50, 950), .0213629, 1e-6);
  EXPECT_NEAR(fisher_worse(0, 20, 50, 950), 1, 1e-9);
  EXPECT_EQ(fisher_worse(0, 0, 0, 0), 1);
  const auto w = welch_larger({50, 1.30, .40}, {950, 1.20, .40});
  EXPECT_NEAR(w.t, 1.72301, 1e-5);
  EXPECT_NEAR(w.freedom, 54.2859, 1e-3);
  EXPECT_NEAR(w.p, .0452900, 1e-6);
}

TEST(gate, a_small_pool_is_judged_once_and_whole) {
  auto g = opened({}, {{"kitchen", 8}});
  EXPECT_EQ(g.looks(), (std::vector<std::uint32_t>{8}));
  ASSERT_TRUE(g.add("kitchen", {.10, .05, .12, -.02, .08, .11, .03, .09}));
  const auto v = g.judge();
  EXPECT_EQ(v.decision, gate_decision::promote);
  EXPECT_NEAR(v.mean, .07, 1e-12);
  EXPECT_NEAR(v.lower, .0383786, 1e-6);
}

TEST(gate, a_site_vetoes_by_its_lower_bound) {
  const auto with_site = [](std::vector<double> d) {
    auto g = opened({.looks = {200}}, {{"a", 100}, {"z", 8}});
    std::vector<double> good(100);
    for (std::size_t i = 0; i < 100; ++i) good[i] = i % 2 == 0 ? 0.5 : 0.4;
    EXPECT_TRUE(g.add("a", good));
    EXPECT_TRUE(g.add("z", d));
    return g.judge();
  };
  const auto vetoed = with_site({.01, -.03, .02, -.05, 0, -.02, .03, -.04});
  EXPECT_EQ(vetoed.decision, gate_decision::reject);
  EXPECT_EQ(vetoed.reason, "veto of z");
  EXPECT_NEAR(vetoed.sites[1].bound, -.0246459, 1e-6);
  const auto passed = with_site({.01, -.01, .02, -.02, 0, -.01, .02, -.01});
  EXPECT_EQ(passed.decision, gate_decision::promote);
  EXPECT_NEAR(passed.sites[1].bound, -.00756308, 1e-7);
}

TEST(gate, few_sequences_of_a_site_are_judged_by_their_mean_and_named_weak) {
  auto g = opened({.looks = {64}}, {{"a", 60}, {"z", 4}});
  ASSERT_TRUE(g.add("a", std::vector<double>(60, 0.4)));
  ASSERT_TRUE(g.add("z", {-.5, .45, -.01, -.05}));
  const auto v = g.judge();
  EXPECT_TRUE(v.sites[1].weak);
  EXPECT_TRUE(v.sites[1].veto);
  EXPECT_EQ(v.decision, gate_decision::reject);
}

TEST(gate, looks_end_with_the_pool) {
  EXPECT_EQ(opened({}, {{"a", 30}, {"b", 10}}).looks(), (std::vector<std::uint32_t>{16, 32, 40}));
  EXPECT_EQ(opened({}, {{"a", 1000}}).looks(), (std::vector<std::uint32_t>{16, 32, 64}));
  const auto g = opened({}, {{"a", 30}, {"b", 10}});
  EXPECT_EQ(g.needed("a", 0), 12u);
  EXPECT_EQ(g.needed("b", 0), 4u);
  EXPECT_EQ(g.needed("a", 2), 30u);
}

TEST(gate, below_eight_only_an_operator_promotes) {
  auto g = opened({}, {{"a", 7}});
  ASSERT_TRUE(g.add("a", std::vector<double>(7, 1.0)));
  EXPECT_EQ(g.judge().decision, gate_decision::operator_only);
}

TEST(gate, a_loss_on_the_guard_set_vetoes) {
  auto g = opened({.looks = {16}}, {{"a", 16}}, 16);
  ASSERT_TRUE(g.add("a", std::vector<double>(16, 0.4)));
  EXPECT_EQ(g.judge().decision, gate_decision::waiting);
  EXPECT_EQ(g.guard_wanted(), 16u);
  auto fine = g;
  ASSERT_TRUE(g.add_guard(std::vector<double>(16, -0.05)));
  EXPECT_EQ(g.judge().reason, "veto of (guard)");
  ASSERT_TRUE(fine.add_guard(std::vector<double>(16, -0.01)));
  EXPECT_EQ(fine.judge().decision, gate_decision::promote);
  EXPECT_FALSE(fine.add_guard({0.1}));
}

TEST(gate, a_number_that_is_none_or_a_failed_load_is_final) {
  auto g = opened({}, {{"a", 64}});
  ASSERT_TRUE(g.add("a", {std::numeric_limits<double>::quiet_NaN()}));
  EXPECT_EQ(g.judge().decision, gate_decision::reject);
  auto h = opened({}, {{"a", 64}, {"b", 64}});
  h.fail("b", "the version does not load");
  EXPECT_EQ(h.judge().reason, "b: the version does not load");
}

TEST(gate, a_site_that_does_not_answer_is_named_and_not_waited_for) {
  auto g = opened({.looks = {16}}, {{"a", 20}, {"b", 20}});
  ASSERT_TRUE(g.add("a", std::vector<double>(16, 0.3)));
  EXPECT_EQ(g.judge().decision, gate_decision::waiting);
  g.give_up("b");
  const auto v = g.judge();
  EXPECT_EQ(v.decision, gate_decision::promote);
  EXPECT_EQ(v.silent, (std::vector<std::string>{"b"}));
  EXPECT_FALSE(g.add("b", {0.1}));
}

TEST(gate, worse_is_rejected_early_and_neither_is_undecided_at_the_end) {
  std::mt19937_64 rng(4);
  std::normal_distribution<double> z;
  const auto worse = run(opened({}, {{"a", 500}}), [&](auto&) { return -1 + 0.1 * z(rng); });
  EXPECT_EQ(worse.decision, gate_decision::reject);
  EXPECT_EQ(worse.look, 16u);
  const auto equal =
      run(opened({}, {{"a", 500}}), [n = 0](auto&) mutable { return n++ % 2 == 0 ? 0.01 : 0.0; });
  EXPECT_EQ(equal.decision, gate_decision::undecided);
  EXPECT_EQ(equal.look, 64u);
}

double promoted_share(double mean, const gate_options& o, int runs) {
  std::mt19937_64 rng(99);
  std::normal_distribution<double> z(mean, 1);
  int promoted = 0;
  for (int i = 0; i < runs; ++i) {
    const auto v = run(opened(o, {{"a", 1000}}), [&](auto&) { return z(rng); });
    promoted += v.decision == gate_decision::promote ? 1 : 0;
  }
  return static_cast<double>(promoted) / runs;
}

TEST(gate, promotes_few_equal_versions_and_most_better_ones) {
  EXPECT_LE(promoted_share(0, {.margin = 0}, 10000), 0.05);
  EXPECT_GE(promoted_share(0.5, {.margin = 0}, 2000), 0.95);
}

TEST(gate, a_site_that_is_harmed_stops_what_helps_the_others) {
  std::mt19937_64 rng(13);
  std::normal_distribution<double> z(0, 0.1);
  int promoted = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto v = run(opened({.margin = 0}, {{"a", 99}, {"b", 99}, {"c", 99}, {"d", 99}}),
                       [&](auto& site) { return z(rng) + (site == "d" ? -0.05 : 0.05); });
    promoted += v.decision == gate_decision::promote ? 1 : 0;
  }
  EXPECT_LE(promoted, 100);
}

TEST(gate, the_order_of_answers_changes_no_verdict) {
  std::mt19937_64 rng(5);
  std::normal_distribution<double> z(0.05, 0.2);
  std::map<std::string, std::vector<double>> answers;
  for (auto site : {"a", "b", "c"})
    for (int i = 0; i < 40; ++i) answers[site].push_back(z(rng));
  std::vector<std::string> order = {"a", "b", "c"};
  std::vector<gate_verdict> verdicts;
  do {
    auto g = opened({}, {{"a", 40}, {"b", 40}, {"c", 40}});
    for (const auto& site : order) ASSERT_TRUE(g.add(site, answers[site]));
    verdicts.push_back(g.judge());
  } while (std::next_permutation(order.begin(), order.end()));
  for (const auto& v : verdicts) {
    EXPECT_EQ(v.decision, verdicts[0].decision);
    EXPECT_EQ(v.lower, verdicts[0].lower);
    EXPECT_EQ(v.look, verdicts[0].look);
  }
}

TEST(gate, numbers_beyond_all_sense_weigh_as_large_ones) {
  auto g = opened({.looks = {16}}, {{"a", 16}});
  std::vector<double> d(16, 1e300);
  d[0] = -1e300;
  ASSERT_TRUE(g.add("a", d));
  const auto v = g.judge();
  EXPECT_LT(std::abs(v.mean), 100);
  EXPECT_LT(v.upper, 1000);
}

TEST(gate, refuses_looks_and_answers_that_cannot_be) {
  EXPECT_FALSE(gate::open({.looks = {32, 16}}, {{"a", 64}}, 0));
  EXPECT_FALSE(gate::open({.looks = {}}, {{"a", 64}}, 0));
  EXPECT_FALSE(gate::open({}, {}, 0));
  auto g = opened({}, {{"a", 10}});
  EXPECT_FALSE(g.add("a", std::vector<double>(11, 0.0)));
}

TEST(canary, ends_by_answers_or_time_and_rolls_back_on_either_test) {
  const canary_options o{.share = .5, .completions = 50, .time_max_ms = 1000};
  const auto decision = [&](canary_counts counts, double elapsed_ms,
                            const std::map<std::string, reference_entropies>& entropies = {}) {
    return judge_canary(o, {.all = counts}, entropies, elapsed_ms).decision;
  };
  EXPECT_EQ(decision({7, 49, 50, 950}, 999), canary_decision::waiting);
  EXPECT_EQ(decision({6, 50, 50, 950}, 0), canary_decision::promote);
  EXPECT_EQ(decision({7, 50, 50, 950}, 0), canary_decision::roll_back);
  EXPECT_EQ(decision({4, 20, 50, 950}, 1000), canary_decision::roll_back);
  EXPECT_EQ(decision({.not_finite = true}, 0), canary_decision::roll_back);
  const std::vector<double> worse = {1.9, 2.0, 2.1, 2.0}, before = {1.0, 1.1, 0.9, 1.0};
  const canary_counts good{0, 50, 50, 950};
  EXPECT_EQ(decision(good, 0, {{"kitchen", {worse, before}}}), canary_decision::roll_back);
  EXPECT_EQ(decision(good, 0, {{"kitchen", {before, worse}}}), canary_decision::promote);
}

TEST(canary, nobodys_numbers_hide_what_others_saw) {
  const canary_options o{.completions = 50};
  const std::vector<double> worse = {1.9, 2.0, 2.1, 2.0}, before = {1.0, 1.1, 0.9, 1.0};
  const std::vector<double> scattered = {0, 100, 0, 100, 0, 100, 0, 100};
  const auto hidden =
      judge_canary(o, {.all = {0, 50, 50, 950}},
                   {{"kitchen", {worse, before}}, {"workshop", {scattered, scattered}}}, 0);
  EXPECT_EQ(hidden.decision, canary_decision::roll_back);
  EXPECT_EQ(hidden.reason, "a larger cross entropy of site kitchen than the serving version");
  const canary_counts bad{20, 50, 50, 950}, flood{0, 65000, 0, 0};
  canary_traffic t{.all = {20, 65050, 50, 950}, .by_site = {{"kitchen", bad}, {"workshop", flood}}};
  const auto flooded = judge_canary(o, t, {}, 0);
  EXPECT_EQ(flooded.decision, canary_decision::roll_back);
  EXPECT_EQ(flooded.reason, "more bad answers of site kitchen than the serving version");
}

TEST(canary, of_many_parts_one_must_be_that_much_worse) {
  const canary_options o{.completions = 50};
  const canary_counts worse{7, 50, 50, 950}, fine{0, 50, 0, 50};  // p = 0.02 of the first alone
  const canary_traffic t{.all = {7, 100, 50, 1000},
                         .by_site = {{"kitchen", worse}, {"workshop", fine}}};
  const auto v = judge_canary(o, t, {}, 0);
  EXPECT_EQ(v.decision, canary_decision::promote) << v.p_bad;
  EXPECT_GT(v.p_bad, 0.025);
  EXPECT_LT(v.p_bad, 0.05);
}

TEST(canary, what_several_saw_together_is_not_drowned_by_one) {
  const canary_options o{.completions = 20};
  canary_traffic t;
  for (const char* site : {"kitchen", "office", "workshop"}) t.by_site[site] = {1, 1, 0, 20};
  t.by_site["cellar"] = {0, 20, 1000, 1000};
  t.all = {3, 23, 1000, 1060};
  const auto v = judge_canary(o, t, {}, 0);
  EXPECT_EQ(v.decision, canary_decision::roll_back);
  EXPECT_EQ(v.reason, "more bad answers of all sites but cellar than the serving version");
  t.by_site["cellar"] = {0, 0, 1000, 1000};  // it took no part in the canary
  t.all = {3, 3, 1000, 1060};
  EXPECT_EQ(judge_canary(o, t, {}, 15000).decision, canary_decision::roll_back);
}

TEST(canary, numbers_too_small_to_be_squared_hide_nothing) {
  const canary_options o{.completions = 50};
  const reference_entropies worse{{1.9, 2.0, 2.1, 2.0}, {1.0, 1.1, 0.9, 1.0}};
  const reference_entropies fine{{1.0, 1.1, 0.9, 1.0}, {1.0, 1.1, 0.9, 1.0}};
  const reference_entropies tiny{{0, 1e-100, 0, 1e-90}, {0, 0, 0, 0}};
  for (const auto& names : std::vector<std::vector<std::string>>{
           {"a", "m", "z"}, {"m", "a", "z"}, {"z", "a", "m"}, {"a", "z", "m"}}) {
    const auto v = judge_canary(o, {.all = {0, 50, 50, 950}},
                                {{names[0], worse}, {names[1], tiny}, {names[2], fine}}, 0);
    EXPECT_EQ(v.decision, canary_decision::roll_back) << names[0] << names[1] << names[2];
  }
}

TEST(canary, takes_its_share_of_requests_and_always_the_same) {
  EXPECT_FALSE(canary_possible(0.9));
  EXPECT_TRUE(canary_possible(1));
  int taken = 0, both = 0;
  for (std::uint64_t id = 0; id < 10000; ++id) {
    taken += canary_takes(id, 7, 0.3) ? 1 : 0;
    both += canary_takes(id, 7, 0.3) && canary_takes(id, 8, 0.3) ? 1 : 0;
  }
  EXPECT_NEAR(taken, 3000, 150);
  EXPECT_NEAR(both, 900, 120);  // another version, other requests
  EXPECT_FALSE(canary_takes(3, 7, 0));
}

}  // namespace
}  // namespace collm::coordinator
