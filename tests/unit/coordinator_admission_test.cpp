#include "coordinator/admission.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace collm::coordinator {
namespace {

constexpr replica_load busy{.queued = 3,
                            .ahead = {.tokens = 1200},
                            .prefill_tokens_per_ms = 1.5,
                            .iteration_ms = 60,
                            .admitted_tokens_per_s = 900};

TEST(admission, predicts_backlog_plus_prompt_plus_one_iteration) {
  EXPECT_DOUBLE_EQ(predicted_ttft_ms(busy, 1.5, 300), 1500 / 1.5 + 60);
}

TEST(admission, retry_after_comes_from_the_drain_rate) {
  // 1500 tokens/s of which 900 are taken; 1.6 s over the promise: 1500 * 1.6 / 600 = 4 s.
  EXPECT_EQ(retry_after_ms(busy, 2600, 1000, 0), 4000u);
  EXPECT_EQ(retry_after_ms(busy, 2600, 1000, 0.5), 5000u);
}

TEST(admission, retry_after_stays_between_one_second_and_a_minute) {
  auto saturated = busy;
  saturated.admitted_tokens_per_s = 1490;
  EXPECT_EQ(retry_after_ms(saturated, 2600, 1000, 0), 60000u);
  EXPECT_EQ(retry_after_ms(busy, 900, 1000, 0), 1000u);
}

TEST(admission, admits_while_the_promise_can_be_kept) {
  EXPECT_TRUE(admit(busy, 300, {1500, 120}, 256, 0).admit);
  const auto late = admit(busy, 300, {1000, 120}, 256, 0);
  EXPECT_FALSE(late.admit);
  EXPECT_GT(late.retry_after_ms, 0u);
}

TEST(admission, whom_nobody_overtakes_may_be_predicted_a_little_later) {
  auto load = busy;  // 300 more tokens: 1060 ms
  EXPECT_FALSE(admit(load, 300, {1100, 120}, 256, 0).admit);
  load.goes_first = true;
  EXPECT_TRUE(admit(load, 300, {1100, 120}, 256, 0).admit);
  EXPECT_FALSE(admit(load, 300, {960, 120}, 256, 0).admit);
}

TEST(admission, what_others_claim_is_not_there_for_prompts) {
  auto load = busy;
  load.claimed = 0.5;
  EXPECT_DOUBLE_EQ(admit(load, 300, {3000, 120}, 256, 0).predicted_ttft_ms, 1500 / 0.75 + 60);
}

TEST(admission, queue_limit_holds_at_the_limit_and_one_below) {
  auto full = busy;
  full.ahead.tokens = 0;
  full.queued = 255;
  EXPECT_TRUE(admit(full, 10, {1500, 120}, 256, 0).admit);
  full.queued = 256;
  EXPECT_FALSE(admit(full, 10, {1500, 120}, 256, 0).admit);
}

TEST(admission, an_idle_replica_takes_a_prompt_that_is_too_long_to_be_on_time) {
  auto idle = busy;
  idle.ahead.tokens = 0;
  EXPECT_TRUE(admit(idle, 4096, {1000, 120}, 256, 0)
                  .admit);  // nobody else is held up; late is better than never
}

TEST(admission, a_long_prompt_waits_behind_little_but_not_behind_much) {
  auto load = busy;
  load.ahead.tokens = 600;  // 400 ms
  EXPECT_TRUE(admit(load, 4096, {1000, 120}, 256, 0).admit);
  load.ahead.tokens = 900;  // 600 ms, over half the promise
  EXPECT_FALSE(admit(load, 4096, {1000, 120}, 256, 0).admit);
}

TEST(admission, an_unknown_rate_admits_a_prompt_behind_little) {
  EXPECT_TRUE(admit({.queued = 1, .ahead = {.tokens = 4096}}, 4096, {100, 120}, 256, 0).admit);
  const auto d = admit({.queued = 1, .ahead = {.tokens = 4097}}, 1, {100, 120}, 256, 0);
  EXPECT_EQ(d.why, refusal::queue);
  EXPECT_EQ(d.retry_after_ms, 2000u);
}

TEST(admission, an_idle_replica_takes_a_prompt_of_any_length) {
  replica_load idle{.prefill_tokens_per_ms = 0.917, .costs = {{10, 1, 0, 5, 0.001}, 0}};
  idle.decodes.decodes = 1;
  for (std::uint32_t tokens = 1; tokens < 8192; tokens += 7)
    EXPECT_TRUE(admit(idle, tokens, {2000, 120}, 256, 0).admit) << tokens;
}

// 10 ms a step, 1 ms a prompt token, 2 ms a decode: what others decode leaves less for prompts.
const step_costs steady{{10, 1, 0, 2, 0}, 0};

// A short prompt behind a long one, and the other way around.
TEST(admission, a_prompt_and_those_ahead_each_have_their_own_price) {
  replica_load load{.sequences = 1, .costs = {{60, .5, 2e-4, 0, 0}, 0}};
  const double long_ms = .5 * 2000 + 2e-4 * 2000 * 1000, short_ms = .5 * 50 + 2e-4 * 50 * 25;
  const double both_ms = (long_ms + short_ms) / 0.5;  // half of a step of 120 ms is left
  load.ahead.add_choices(2000);
  EXPECT_NEAR(admit(load, 50, {9000, 120}, 256, 0).predicted_ttft_ms, both_ms, 1e-6);
  load.ahead = {};
  load.ahead.add_choices(50);
  EXPECT_NEAR(admit(load, 2000, {9000, 120}, 256, 0).predicted_ttft_ms, both_ms, 1e-6);
}

TEST(admission, a_prompt_that_would_be_late_beside_the_decodes_is_refused) {
  replica_load load{.iteration_ms = 60, .sequences = 24, .costs = steady};
  load.decodes.decodes = 25;
  EXPECT_TRUE(admit(load, 400, {1000, 120}, 256, 0).admit);
  load.ahead.tokens = 200;
  const auto d = admit(load, 400, {1000, 120}, 256, 0);
  EXPECT_EQ(d.why, refusal::late);
  EXPECT_NEAR(d.predicted_ttft_ms, 600 / 0.5 + 60, 1e-6);
}

// 60 ms of decodes in each step: half of the time is left in steps of 120 ms, three quarters in
// those of 240, the longest.
TEST(admission, while_decodes_are_ahead_of_their_promises_steps_may_be_longer) {
  replica_load load{.iteration_ms = 60, .sequences = 24, .costs = steady};
  load.decodes.decodes = 25;
  const auto predicted = [&](double slack_ms) {
    load.slack_ms = slack_ms;
    return admit(load, 390, {960, 120}, 256, 0).predicted_ttft_ms;
  };
  EXPECT_NEAR(predicted(-50), 390 / 0.5 + 60, 1e-6);
  // A step of 200 ms computes 140 and leaves its decodes a token ahead: 120 ms, as the others take.
  EXPECT_NEAR(predicted(200), 200 + (390 - 140) / 0.5 + 60, 1e-6);
  EXPECT_NEAR(predicted(520), 390 / 0.75 + 60, 1e-6);
  EXPECT_NEAR(predicted(std::numeric_limits<double>::infinity()), 390 / 0.75 + 60, 1e-6);
  load.fills = 0.5;
  EXPECT_NEAR(predicted(520), 390 / 0.75 + 60, 1e-6) << "steps know of no modest share";
}

TEST(admission, each_prompt_that_begins_to_decode_leaves_little_slack_to_the_next) {
  replica_load load{.ahead = {.tokens = 300, .prompts = 2},
                    .iteration_ms = 60,
                    .sequences = 24,
                    .costs = steady,
                    .slack_ms = 500};
  load.decodes.decodes = 25;
  // In 200 ms; then in the 40 ms that are left of its step, and beside it.
  const double first = 150 / 0.75, second = 40 + (150 - 40 * 0.75) / 0.5;
  const auto d = admit(load, 400, {960, 120}, 256, 0);
  EXPECT_NEAR(d.behind_ms, first + second, 1e-6);
  EXPECT_NEAR(d.predicted_ttft_ms, first + second + 400 / 0.5 + 60, 1e-6) << "none is left";
}

TEST(admission, one_more_decode_than_the_token_promise_allows_is_refused) {
  replica_load load{
      .prefill_tokens_per_ms = 1, .sequences = 45, .costs = steady, .finished_per_s = 0.25};
  load.decodes.decodes = 46;  // 10 + 2 * 46 = 102 = 0.85 * 120
  EXPECT_TRUE(admit(load, 10, {1000, 120}, 256, 0).admit);
  load.decodes.decodes = 47;
  const auto d = admit(load, 10, {1000, 120}, 256, 0);
  EXPECT_EQ(d.why, refusal::crowded);
  EXPECT_EQ(d.retry_after_ms, 4000u);  // a place is free every four seconds
}

TEST(admission, where_one_sequence_alone_is_late_others_are_not_refused_for_it) {
  replica_load load{.sequences = 1, .costs = {{200, 1, 0, 2, 0}, 0}};
  load.decodes.decodes = 2;
  EXPECT_NE(admit(load, 10, {100000, 120}, 256, 0).why, refusal::crowded);
}

TEST(admission, company_is_refused_only_where_it_could_be_had) {
  // Of 0.85 * 120 ms, 71.4 ms are the most that one sequence may take for others to decode beside.
  replica_load load{.prefill_tokens_per_ms = 1, .sequences = 1, .costs = {{39.3, 1, 0, 32, 0}, 0}};
  load.decodes.decodes = 3;  // 135.3 ms
  EXPECT_EQ(admit(load, 10, {100000, 120}, 256, 0).why, refusal::crowded);
  load.costs.theta[0] = 39.5;
  EXPECT_NE(admit(load, 10, {100000, 120}, 256, 0).why, refusal::crowded);
}

TEST(admission, who_may_fill_steps_less_is_refused_earlier_and_wherever_others_are) {
  replica_load load{.prefill_tokens_per_ms = 1, .sequences = 1, .costs = {{20, 1, 0, 20, 0}, 0}};
  load.decodes.decodes = 2;  // 60 ms
  EXPECT_NE(admit(load, 10, {100000, 120}, 256, 0).why, refusal::crowded);
  load.fills = 0.5;
  const auto d = admit(load, 10, {100000, 120}, 256, 0);
  EXPECT_EQ(d.why, refusal::crowded) << "one alone takes 40 ms, more than half of half of it";
  EXPECT_DOUBLE_EQ(d.tpot_most_ms, 51);
}

TEST(admission, the_cache_is_not_promised_twice) {
  replica_load load{.sequences = 3, .costs = steady, .kv_tokens = 1000, .kv_tokens_max = 1000};
  EXPECT_TRUE(admit(load, 10, {1000, 120}, 256, 0).admit);
  load.kv_tokens = 1001;
  EXPECT_EQ(admit(load, 10, {1000, 120}, 256, 0).why, refusal::memory);
  load.sequences = 0;  // alone: it fits or it is preempted, nobody else is held up
  EXPECT_TRUE(admit(load, 10, {1000, 120}, 256, 0).admit);
}

TEST(admission, hash01_is_uniform_and_stable) {
  double sum = 0;
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const double h = hash01(i);
    ASSERT_GE(h, 0);
    ASSERT_LT(h, 1);
    sum += h;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
  EXPECT_EQ(hash01(42), hash01(42));
}

}  // namespace
}  // namespace collm::coordinator
