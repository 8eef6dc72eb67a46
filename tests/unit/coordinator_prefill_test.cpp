#include "coordinator/prefill.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace collm::coordinator {
namespace {

constexpr double forever = std::numeric_limits<double>::infinity();

// 10 ms a step, 1 ms a prompt token, 2 ms a decode: what others decode leaves less for prompts.
const step_costs steady{{10, 1, 0, 2, 0}, 0};

TEST(sustained_prefill, prompts_get_the_time_that_decodes_leave) {
  EXPECT_NEAR(sustained_prefill_per_ms(steady, {}, {}, 120), 110.0 / 120, 1e-9);
  EXPECT_NEAR(sustained_prefill_per_ms(steady, {.decodes = 25}, {}, 120), 60.0 / 120, 1e-9);
  const double starved = sustained_prefill_per_ms(steady, {.decodes = 100}, {}, 120);
  EXPECT_GT(starved, 0);  // every ninth step computes one tile
  EXPECT_LT(starved, 0.01);
}

// Where 60 tokens cost 60 ms, it does not matter what the fit took for the cost of pairs.
TEST(sustained_prefill, prompts_are_as_dear_as_those_of_their_length_were) {
  const step_costs by_tokens{{10, 1, 0, 2, 0}, 0}, by_pairs{{10, 0, 1.0 / 30, 2, 0}, 0};
  EXPECT_NEAR(sustained_prefill_per_ms(by_pairs, {}, prompt_features(60), 120),
              sustained_prefill_per_ms(by_tokens, {}, prompt_features(60), 120), 1e-9);
}

TEST(prompt_backlog, counts_the_pairs_of_what_is_left) {
  prompt_backlog b;
  b.add_choices(60, 40);
  EXPECT_EQ(b.tokens, 60);
  EXPECT_EQ(b.pairs, 100 * 100 / 2 - 40 * 40 / 2) << "of the whole without those that stand";
  b.add_choices(10, 0, 3);
  EXPECT_EQ(b.tokens, 90) << "one step computes a short prompt for each choice";
  EXPECT_EQ(b.pairs, 4200 + 3 * 50);
  EXPECT_EQ(b.prompts, 4);
  b.add_choices(2048, 0, 16);
  EXPECT_EQ(b.tokens, 90 + 2048 + 512) << "what a step computes of a long one the others take over";
  EXPECT_EQ(b.pairs, 4350 + 2048 * 1024 * 1.25);
  EXPECT_EQ(b.prompts, 20) << "and begin each";
}

// 60 ms of decodes: half of steps of 120 ms is left, and seven eighths of those of 480 ms.
TEST(prefill_pace, is_higher_while_decodes_are_ahead_of_their_promises) {
  const auto pace = pace_of(steady, {.decodes = 25}, {}, {.ttft_ms = 1920, .tpot_ms = 120});
  EXPECT_NEAR(pace.beside, 60.0 / 120, 1e-9);
  EXPECT_NEAR(pace.ahead, 420.0 / 480, 1e-9);
  EXPECT_NEAR(pace.tokens_in(100, 120), 50, 1e-9);
  // Steps of 480 ms, then of what is left, until a token's time is: 840 = 2 * 480 + 120 - 240.
  EXPECT_NEAR(pace.ahead_ms(840), 2 * 480, 1e-9);
  EXPECT_NEAR(pace.tokens_in(1000, 840), 2 * 420 + 20, 1e-9);
  EXPECT_NEAR(pace.tokens_in(100, forever), 87.5, 1e-9);
}

TEST(prefill_state, of_a_moment_ago_has_less_left_of_each_tenants) {
  // Two ms at the pace ahead for each of slack beyond 10.
  prefill_state then{.pace = {.ahead = 2, .beside = 1, .token_ms = 10, .lasts = 2}, .slack_ms = 30};
  then.backlog_of["a"].add_choices(150);
  then.backlog_of["b"].add_choices(50);
  const auto now = then.after(60);  // 40 * 2 + 20 * 1 tokens: half
  EXPECT_DOUBLE_EQ(now.slack_ms, 10) << "where it stays";
  EXPECT_DOUBLE_EQ(then.after(20).slack_ms, 20);
  EXPECT_DOUBLE_EQ(now.backlog_of.at("a").tokens, 75);
  EXPECT_DOUBLE_EQ(now.backlog_of.at("a").pairs, 150 * 150 / 4.0);
  EXPECT_DOUBLE_EQ(now.backlog_of.at("b").tokens, 25);
  EXPECT_EQ(now.backlog().prompts, 2);
  EXPECT_EQ(then.after(1000).backlog().tokens, 0);
  EXPECT_EQ(then.after(1000).backlog().prompts, 2) << "their sequences began of late";
}

TEST(prefill_state, of_an_unknown_pace_computes_nothing) {
  prefill_state then{.slack_ms = forever};
  then.backlog_of["a"].add_choices(150);
  EXPECT_EQ(then.after(1000).backlog().tokens, 150);
  EXPECT_EQ(prefill_state().after(1000).backlog().tokens, 0);
}

}  // namespace
}  // namespace collm::coordinator
