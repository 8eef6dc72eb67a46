#include "coordinator/step_planner.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

namespace collm::coordinator {
namespace {

latency_model::options profile() {
  return {.theta = {22.05, .1405, 1.616e-5, .0607, 5.93e-4},
          .scale = {1, 1024, 1e6, 64, 64e3},
          .margin = 0};
}

constexpr slo promise{.ttft_ms = 2000, .tpot_ms = 100};
constexpr planner_limits roomy{.step_tokens_max = 2048, .blocks_free = 100000};

planned_sequence decoding(std::uint64_t id, double first_token_ms, std::uint32_t produced,
                          std::uint32_t context = 600) {
  return {.id = id,
          .arrival_ms = first_token_ms - 100,
          .first_token_ms = first_token_ms,
          .length = context,
          .computed = context - 1,
          .produced = produced,
          .max_tokens = 500,
          .blocks = (context + 15) / 16};
}

planned_sequence waiting(std::uint64_t id, double arrival_ms, std::uint32_t prompt) {
  return {.id = id, .arrival_ms = arrival_ms, .length = prompt, .max_tokens = 16};
}

std::vector<planned_sequence> thirty_two_decodes() {
  std::vector<planned_sequence> all;
  for (std::uint64_t i = 0; i < 32; ++i) all.push_back(decoding(i, 0, 10));
  return all;
}

TEST(step_planner, budget_is_the_smallest_slack_within_its_bounds) {
  const step_planner p(promise);
  const latency_model m(profile());
  const std::vector<planned_sequence> one = {decoding(1, 1000, 10)};
  EXPECT_DOUBLE_EQ(p.slack_ms(one, m, 1990), 10);
  EXPECT_TRUE(std::isinf(p.slack_ms({}, m, 1990))) << "nobody would be late";
  EXPECT_DOUBLE_EQ(p.budget_ms(one, m, 1920), 80);   // 1000 + 10 * 100 - 1920
  EXPECT_DOUBLE_EQ(p.budget_ms(one, m, 1990), 50);   // never below half a TPOT
  EXPECT_DOUBLE_EQ(p.budget_ms(one, m, 1000), 500);  // never above a quarter of the TTFT promise
  EXPECT_DOUBLE_EQ(p.budget_ms({}, m, 1000), 500);
}

/// In the order in which one step would take them, with room for all.
std::vector<std::uint64_t> order_of(const std::vector<planned_sequence>& all, double now_ms) {
  step_planner p(promise);
  std::vector<std::uint64_t> order;
  for (const auto& item : p.plan(all, latency_model(profile()), roomy, now_ms).work)
    order.push_back(item.id);
  return order;
}

TEST(step_planner, tenants_take_turns_and_within_one_the_oldest_goes_first) {
  auto a = waiting(1, 0, 16), b = waiting(2, 10, 16), c = waiting(3, 20, 16);
  EXPECT_EQ(order_of({a, b, c}, 100), (std::vector<std::uint64_t>{1, 2, 3}));
  a.turn = b.turn = 500;
  EXPECT_EQ(order_of({a, b, c}, 100), (std::vector<std::uint64_t>{3, 1, 2}));
}

TEST(step_planner, batch_gives_way_until_half_of_its_promise_has_passed) {
  auto batch = waiting(1, 0, 16);
  batch.batch = true;
  const auto interactive = waiting(2, 10, 16);
  EXPECT_EQ(order_of({batch, interactive}, 999), (std::vector<std::uint64_t>{2, 1}));
  EXPECT_EQ(order_of({batch, interactive}, 1000), (std::vector<std::uint64_t>{1, 2}));
}

TEST(step_planner, a_lost_request_throttles_nobody) {
  const step_planner p(promise);
  latency_model m({.theta = {50, 0, 0, 0, 0}, .scale = {1, 1, 1, 1, 1}, .margin = 0});
  auto late =
      decoding(1, 0, 41);  // 40 after the first; 8000 ms gone; 59 more at 50 ms: 10950 > 9900
  late.max_tokens = 100;
  const std::vector<planned_sequence> one = {late};
  EXPECT_DOUBLE_EQ(p.budget_ms(one, m, 8000), 500);
}

TEST(step_planner, packs_decodes_first_then_the_chunk_that_fits_rounded_to_the_tile) {
  step_planner p(promise);
  const latency_model m(profile());
  auto all = thirty_two_decodes();
  all.push_back(waiting(99, 900, 500));
  const auto plan = p.plan(all, m, roomy, 920);  // slack 80
  ASSERT_EQ(plan.work.size(), 33u);
  EXPECT_EQ(plan.work.back().id, 99u);
  EXPECT_EQ(plan.work.back().tokens, 304u);
  EXPECT_NEAR(plan.bound_ms, 78.8367, 1e-3);
  all.back() = waiting(99, 900, 300);
  EXPECT_EQ(p.plan(all, m, roomy, 920).work.back().tokens, 300u);  // ends the prompt: not rounded
}

TEST(step_planner, earlier_deadlines_go_first_and_lost_ones_last) {
  step_planner p(promise);
  const latency_model m(profile());
  const std::vector<planned_sequence> all = {waiting(1, 4000, 100), waiting(2, 1000, 100),
                                             waiting(3, 3500, 100)};
  const auto plan = p.plan(all, m, roomy, 4100);  // 2 missed its deadline at 3000
  ASSERT_EQ(plan.work.size(), 3u);
  EXPECT_EQ(plan.work[0].id, 3u);
  EXPECT_EQ(plan.work[1].id, 1u);
  EXPECT_EQ(plan.work[2].id, 2u);
}

TEST(step_planner, overload_holds_prefill_back_but_not_for_ever) {
  step_planner p(promise);
  const latency_model slow({.theta = {59, 1, 0, 1, 0}, .scale = {1, 1, 1, 1, 1}, .margin = 0});
  std::vector<planned_sequence> all = {decoding(1, 0, 10), waiting(2, 0, 400)};
  for (int i = 1; i < 9; ++i) EXPECT_EQ(p.plan(all, slow, roomy, 950).work.size(), 1u) << i;
  const auto ninth = p.plan(all, slow, roomy, 950);
  ASSERT_EQ(ninth.work.size(), 2u);
  EXPECT_EQ(ninth.work[1].tokens, 16u);
  EXPECT_EQ(p.plan(all, slow, roomy, 950).work.size(), 1u);
}

TEST(step_planner, a_newcomer_that_would_break_the_tpot_promise_waits_but_not_for_ever) {
  step_planner p(promise);
  // 100 ms a decode: one stream keeps its promise, two would not.
  const latency_model slow({.theta = {0, 1, 0, 100, 0}, .scale = {1, 1, 1, 1, 1}, .margin = 0});
  std::vector<planned_sequence> all = {decoding(1, 0, 1, 100), waiting(2, 0, 320)};
  all[0].arrival_ms = -5000;  // its TTFT is lost, so it does not bound the step's budget
  for (int step = 1; step < 9; ++step) {
    EXPECT_EQ(p.plan(all, slow, roomy, 100).work.size(), 1u) << step;
  }
  const auto ninth = p.plan(all, slow, roomy, 100);
  ASSERT_EQ(ninth.work.size(), 2u);
  EXPECT_EQ(ninth.work[1].tokens, 16u);
}

// 60 ms a step and 1 ms a token, of which the answer that runs has 50 left: the decodes alone
// exceed the budget. At the guard's pace a tile takes 9 * 60 + 16 ms.
const latency_model over({.theta = {60, 1, 0, 0, 0}, .scale = {1, 1, 1, 1, 1}, .margin = 0});

/// Steps with a tile of some prompt among the next nine, `prompts` waiting from now on.
int guarded_steps(std::vector<planned_sequence> prompts, double now_ms) {
  step_planner p({.ttft_ms = 20000, .tpot_ms = 100});
  prompts.push_back(decoding(99, now_ms - 60, 1, 100));
  int tiles = 0;
  for (int step = 0; step < 9; ++step)
    tiles += static_cast<int>(p.plan(prompts, over, roomy, now_ms).work.size()) - 1;
  return tiles;
}

TEST(step_planner, the_guard_waits_while_its_pace_would_still_be_in_time) {
  // 16 tiles: 8,896 ms, which end at nine tenths of the promise if they begin at 9,104 ms.
  EXPECT_EQ(guarded_steps({waiting(1, 0, 256)}, 9100), 0);
  EXPECT_EQ(guarded_steps({waiting(1, 0, 256)}, 9105), 1);
}

TEST(step_planner, the_guard_counts_the_prompts_in_front) {
  EXPECT_EQ(guarded_steps({waiting(1, 0, 256), waiting(2, 0, 256)}, 200), 0);
  EXPECT_EQ(guarded_steps({waiting(1, 0, 256), waiting(2, 0, 256)}, 210), 1);
  EXPECT_EQ(guarded_steps({waiting(1, 0, 256), waiting(2, 9000, 256)}, 9100), 0);
}

TEST(step_planner, a_slow_machine_still_makes_progress_alone) {
  step_planner p(promise);
  const latency_model slow({.theta = {2000, 10, 0, 1, 0}, .scale = {1, 1, 1, 1, 1}, .margin = 0});
  const std::vector<planned_sequence> one = {waiting(1, 0, 100)};
  const auto plan = p.plan(one, slow, roomy, 10);
  ASSERT_EQ(plan.work.size(), 1u);
  EXPECT_EQ(plan.work[0].tokens, 16u);
}

TEST(step_planner, blocks_short_preempts_the_youngest_and_never_the_oldest) {
  step_planner p(promise);
  const latency_model m(profile());
  auto full = [](std::uint64_t id, double first) {
    return decoding(id, first, 5, 33);
  };  // 33rd token needs a third block
  std::vector<planned_sequence> all = {full(1, 100), full(2, 200), full(3, 300)};
  for (auto& s : all) s.blocks = 2;
  auto limits = roomy;
  limits.blocks_free = 1;
  const auto plan = p.plan(all, m, limits, 400);
  EXPECT_EQ(plan.preempt, std::vector<std::uint64_t>{3});
  ASSERT_EQ(plan.work.size(), 2u);
  EXPECT_EQ(plan.work[0].id, 1u);
  EXPECT_EQ(plan.work[1].id, 2u);
}

TEST(step_planner, blocks_and_rows_are_never_overdrawn) {
  std::mt19937_64 rng(11);
  for (int round = 0; round < 2000; ++round) {
    step_planner p(promise);
    const latency_model m(profile());
    std::vector<planned_sequence> all;
    const auto count = 1 + rng() % 40;
    for (std::uint64_t i = 0; i < count; ++i) {
      all.push_back(
          rng() % 2 == 0
              ? decoding(i, static_cast<double>(rng() % 1000), 1 + rng() % 50, 2 + rng() % 500)
              : waiting(i, static_cast<double>(rng() % 1000), 1 + rng() % 2000));
    }
    const auto free = static_cast<std::uint32_t>(rng() % 200);
    const planner_limits limits{.step_tokens_max = 256, .blocks_free = free};
    const auto plan = p.plan(all, m, limits, 1000);
    std::map<std::uint64_t, std::uint32_t> tokens;
    std::uint32_t rows = 0, taken = 0, given = free;
    for (const auto& w : plan.work) {
      EXPECT_TRUE(tokens.emplace(w.id, w.tokens).second) << "planned twice";
      EXPECT_GT(w.tokens, 0u);
      rows += w.tokens;
    }
    EXPECT_LE(rows, 256u);
    for (const auto& s : all) {
      const bool out = std::count(plan.preempt.begin(), plan.preempt.end(), s.id) > 0;
      if (out) {
        EXPECT_FALSE(tokens.contains(s.id));
        given += s.blocks;
      }
      if (!tokens.contains(s.id)) continue;
      EXPECT_LE(tokens[s.id], s.left());
      const auto total = (s.computed + tokens[s.id] + 15) / 16;
      taken += total > s.blocks ? total - s.blocks : 0;
    }
    EXPECT_LE(taken, given);
  }
}

}  // namespace
}  // namespace collm::coordinator
