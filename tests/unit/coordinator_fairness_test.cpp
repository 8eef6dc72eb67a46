#include "coordinator/fairness.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace collm::coordinator {
namespace {

TEST(engine_time, is_a_requests_part_of_steps_as_long_as_the_promise_allows) {
  // 1 ms a prompt token, 2 ms a decode; of 120 ms the step itself takes 20.
  const step_costs costs{{20, 1, 0, 2, 0}, 0};
  EXPECT_NEAR(engine_time_ms(costs, 100, 50, 120), (100 + 2 * 50) * 1.2, 1e-9);
  EXPECT_NEAR(engine_time_ms({{119, 1, 0, 2, 0}, 0}, 100, 50, 120), 2000, 1e-9)
      << "at most tenfold";
  EXPECT_EQ(engine_time_ms({}, 100, 50, 120), 0);
}

TEST(tenant_times, who_was_given_least_goes_first_and_those_who_wait_stay_close) {
  std::mt19937 random(7);
  tenant_times times;
  const std::vector<std::string> tenants = {"a", "b", "c"};
  constexpr double most = 400;
  double now = 0;
  for (int i = 0; i < 10'000; ++i, now += 100) {
    const auto next = *std::min_element(tenants.begin(), tenants.end(), [&](auto& x, auto& y) {
      return times.turn(x, now) < times.turn(y, now);
    });
    times.give(next, 1 + random() % 400, now);
    for (const auto& x : tenants)
      for (const auto& y : tenants)
        ASSERT_LE(times.given_ms(x, now) - times.given_ms(y, now), most + tenant_times::span_ms)
            << x << y << i;
  }
}

TEST(tenant_times, what_was_given_fades) {
  tenant_times times;
  times.give("a", 1000, 0);
  EXPECT_NEAR(times.given_ms("a", tenant_times::memory_ms), 1000 / 2.718281828, 1e-3);
  times.give("a", 1000, tenant_times::memory_ms);
  EXPECT_NEAR(times.given_ms("a", tenant_times::memory_ms), 1367.9, 0.1);
  EXPECT_EQ(times.given_ms("b", 0), 0);
}

double claimed_before(const tenant_times& times, const std::string& tenant, double now_ms) {
  return share_of(times.claims_before(tenant, now_ms));
}

TEST(tenant_times, against_a_lone_tenant_nothing_is_claimed) {
  tenant_times times;
  times.ask("a", 5000, 100, 0);
  times.give("a", 3000, 0);
  EXPECT_TRUE(times.claims_before("a", 0).empty());
}

TEST(tenant_times, what_those_who_had_less_ask_for_goes_before_who_had_more) {
  tenant_times times;
  times.ask("noisy", 50'000, 100, 0);
  times.give("noisy", 12'000, 0);
  times.ask("quiet", 6'000, 300, 0);
  times.give("quiet", 5'000, 0);
  const auto claims = times.claims_before("noisy", 0);
  ASSERT_EQ(claims.size(), 1u);
  EXPECT_EQ(claims[0].tenant, "quiet");
  EXPECT_NEAR(claims[0].share, 0.3, 1e-9);
  EXPECT_EQ(claims[0].prompt_tokens, 300);
  EXPECT_TRUE(times.claims_before("quiet", 0).empty());
}

TEST(tenant_times, nobody_claims_more_than_the_other_had_and_all_together_half) {
  tenant_times times;
  times.give("first", 2'000, 0);
  times.ask("second", 20'000, 100, 0);
  times.give("second", 1'900, 0);
  EXPECT_NEAR(claimed_before(times, "first", 0), 0.1, 1e-9);
  times.give("first", 18'000, 0);
  EXPECT_NEAR(claimed_before(times, "first", 0), 0.5, 1e-9);
}

TEST(tenant_times, who_had_less_than_another_goes_first) {
  tenant_times times;
  EXPECT_FALSE(times.goes_first("a", 0)) << "nobody else is there";
  times.give("a", 1999, 0);
  EXPECT_FALSE(times.goes_first("b", 0)) << "a little more is as much";
  times.give("a", 1, 0);
  EXPECT_FALSE(times.goes_first("a", 0));
  EXPECT_TRUE(times.goes_first("b", 0));
  times.give("b", 4000, 0);
  EXPECT_TRUE(times.goes_first("a", 0));
  EXPECT_FALSE(times.goes_first("b", 0));
}

TEST(tenant_times, one_request_long_ago_is_no_claim) {
  tenant_times times;
  times.give("busy", 10'000, 0);
  times.ask("rare", 600, 100, 0);
  EXPECT_EQ(times.claims_before("busy", 20'000).size(), 1u);
  EXPECT_EQ(times.claims_before("busy", 23'000).size(), 0u);
}

TEST(tenant_times, the_longest_prompt_of_late_is_remembered_for_some_requests) {
  tenant_times times;
  times.give("other", 10'000, 0);
  times.ask("a", 500, 400, 0);
  for (int i = 0; i < 5; ++i) times.ask("a", 500, 100, 0);
  EXPECT_NEAR(times.claims_before("other", 0)[0].prompt_tokens, 400 * std::pow(0.95, 5), 1e-9);
  for (int i = 0; i < 50; ++i) times.ask("a", 500, 100, 0);
  EXPECT_NEAR(times.claims_before("other", 0)[0].prompt_tokens, 100, 1e-9);
}

TEST(tenant_times, who_knocks_more_often_than_it_could_be_served_is_forgotten_no_later) {
  tenant_times times;
  for (int i = 0; i < 1000; ++i) times.ask("hammers", 1000, 100, 0);
  times.give("other", 10'000, 3 * tenant_times::memory_ms);
  EXPECT_NEAR(claimed_before(times, "other", 3 * tenant_times::memory_ms), std::exp(-3.0), 1e-6);
}

TEST(tenant_times, know_who_asks_for_all_of_the_engine) {
  tenant_times times;
  EXPECT_FALSE(times.asks_for_all("polite", 0));
  for (double now = 0; now < 3 * tenant_times::memory_ms; now += 100) {
    times.ask("polite", 70, 10, now);
    times.ask("noisy", 300, 10, now);
  }
  const double now = 3 * tenant_times::memory_ms;
  EXPECT_FALSE(times.asks_for_all("polite", now));
  EXPECT_TRUE(times.asks_for_all("noisy", now));
  EXPECT_FALSE(times.asks_for_all("noisy", now + tenant_times::memory_ms / 2)) << "it fades";
}

TEST(tenant_times, a_claim_of_who_asks_no_more_fades_until_another_turn_comes) {
  tenant_times times;
  times.ask("once", 8'000, 100, 0);
  times.give("own", 10'000, 0);
  const auto share_in = [&](double now, double wait) {
    return share_later(times.claims_before("own", now), wait);
  };
  EXPECT_NEAR(share_in(0, 0), 0.4, 1e-9);
  EXPECT_NEAR(share_in(0, 60'000), 0.4, 1e-9) << "it may go on asking";
  const double later = tenant_times::still_ms + 1;
  const double now = share_in(later, 0);
  EXPECT_NEAR(now, 0.4 * std::exp(-later / tenant_times::memory_ms), 1e-6);
  EXPECT_NEAR(share_in(later, tenant_times::memory_ms), now / std::exp(1.0), 1e-6);
}

TEST(tenant_times, who_asks_often_is_soon_silent_and_who_asks_seldom_is_not) {
  tenant_times times;
  times.give("own", 10'000, 0);
  double often = 0, seldom = 0;
  for (; often < 30'000; often += 50) times.ask("often", 20, 100, often);
  for (; seldom < 30'000; seldom += 4000) times.ask("seldom", 1500, 100, seldom);
  times.give("own", 10'000, 30'000);
  const auto stays = [&](const std::string& tenant, double now) {
    for (const auto& c : times.claims_before("own", now))
      if (c.tenant == tenant) return c.stays;
    return -1.0;
  };
  EXPECT_EQ(stays("often", often), 1);
  EXPECT_EQ(stays("often", often + 1000), 0);
  EXPECT_EQ(stays("seldom", seldom + 4000), 1);
  EXPECT_EQ(stays("seldom", seldom + 10'000), 0);
}

TEST(tenant_times, a_claim_stays_as_far_as_those_come_who_were_told_to) {
  EXPECT_DOUBLE_EQ(share_later({{"told", 0.4, 100, 0.75}}, 1e9), 0.3);
  EXPECT_DOUBLE_EQ(share_later({{"told", 0.4, 100, 0.75}}, 0), 0.4);
  return_line line;
  EXPECT_EQ(line.awaited(0), 0);
  line.join(1, {100, 1}, 0, 1000, 1000, 60'000);
  EXPECT_EQ(line.awaited(0), 0) << "nothing is known of them";
  line.enter(1, 1000);
  EXPECT_EQ(line.awaited(1000), 0) << "nobody stands in it";
  line.join(2, {100, 1}, 1000, 1000, 1000, 60'000);
  EXPECT_DOUBLE_EQ(line.awaited(1000), 0.1);
}

TEST(choices_kept, grow_with_what_the_others_ask_for_and_never_beyond_what_is_held) {
  EXPECT_EQ(choices_kept(0, 20), 0);
  EXPECT_NEAR(choices_kept(0.001, 20), 1, 1e-9);
  EXPECT_NEAR(choices_kept(0.1, 20), 3, 1e-9);
  EXPECT_NEAR(choices_kept(0.5, 20), 9.97, 0.01);
  EXPECT_EQ(choices_kept(0.5, 3), 3);
}

TEST(prompts_ahead, are_all_but_those_whose_turn_comes_later) {
  std::map<std::string, prompt_backlog> backlog;
  backlog["a"].add_choices(100);
  backlog["b"].add_choices(1000);
  backlog["c"].add_choices(30);
  tenant_times times;
  const auto ahead = [&](const std::string& tenant) {
    return prompts_ahead(tenant, backlog, times, 0);
  };
  EXPECT_EQ(ahead("a").tokens, 1130) << "first come, first served";
  times.give("b", tenant_times::span_ms, 0);
  EXPECT_EQ(ahead("a").tokens, 130);
  EXPECT_EQ(ahead("a").pairs, 5000 + 450) << "as dear as they are, whatever waits behind";
  EXPECT_EQ(ahead("a").prompts, 2);
  EXPECT_EQ(ahead("new").tokens, 130);
  EXPECT_EQ(ahead("b").tokens, 1130);
}

constexpr return_line::room small{100, 1}, large{400, 2};

TEST(return_line, each_is_told_the_turn_behind_the_one_before) {
  return_line line;
  EXPECT_EQ(line.join(1, small, 0, 500, 1000, 60'000), 1000u);
  EXPECT_EQ(line.join(2, small, 0, 2000, 1000, 60'000), 1500u);
  EXPECT_EQ(line.join(3, small, 250, 500, 1000, 60'000), 3250u) << "the one before takes its time";
  EXPECT_EQ(line.join(4, small, 100'000, 500, 1000, 60'000), 1000u) << "the line has gone in";
}

TEST(return_line, a_new_one_waits_for_the_last) {
  return_line line;
  EXPECT_EQ(line.wait_ms(500), 0);
  line.join(1, small, 0, 300, 1000, 60'000);
  EXPECT_EQ(line.wait_ms(0), 1300);
  EXPECT_EQ(line.wait_ms(2000), 0);
}

TEST(return_line, is_not_longer_than_what_clients_obey) {
  return_line line;
  for (std::uint64_t i = 0; i < 60; ++i)
    EXPECT_LE(line.join(i, small, 0, 1000, 1000, 60'000), 60'000u);
  EXPECT_EQ(line.join(60, small, 0, 1000, 1000, 60'000), 60'000u);
  EXPECT_FALSE(line.in_turn(60, 60'000)) << "it was told to come back and has no place";
  EXPECT_EQ(line.join(61, small, 1000, 1000, 1000, 60'000), 60'000u) << "one place has gone in";
  EXPECT_TRUE(line.in_turn(61, 61'000));
}

TEST(return_line, one_who_is_thought_to_take_for_ever_shuts_it_no_longer_than_clients_obey) {
  return_line line;
  line.join(1, small, 0, 1e12, 1000, 60'000);
  EXPECT_EQ(line.wait_ms(0), 61'000);
  line.enter(1, 1000);
  EXPECT_EQ(line.join(2, small, 2000, 1000, 1000, 60'000), 59'000u);
}

TEST(return_line, holds_so_many_places_and_no_more) {
  return_line line;
  for (std::uint64_t i = 0; i < return_line::places_max; ++i)
    EXPECT_LT(line.join(i, small, 0, 1, 1000, 60'000), 60'000u);
  EXPECT_EQ(line.join(5000, small, 0, 1, 1000, 60'000), 60'000u);
}

TEST(return_line, who_asks_the_same_again_in_its_turn_is_known) {
  return_line line;
  line.join(7, small, 0, 500, 1000, 60'000);
  EXPECT_FALSE(line.in_turn(7, 800)) << "too early";
  EXPECT_TRUE(line.in_turn(7, 900));
  EXPECT_FALSE(line.in_turn(8, 1000)) << "another question";
  EXPECT_TRUE(line.in_turn(7, 4000));
  EXPECT_FALSE(line.in_turn(7, 4001)) << "too late";
  line.enter(7, 1000);
  EXPECT_FALSE(line.in_turn(7, 1000)) << "it has gone in";
}

TEST(return_line, who_is_turned_away_in_its_turn_keeps_its_place) {
  return_line line;
  line.join(7, small, 0, 500, 1000, 60'000);
  for (std::uint64_t i = 10; i < 30; ++i) line.join(i, small, 0, 500, 1000, 60'000);
  EXPECT_EQ(line.join(7, small, 1000, 500, 1000, 60'000), 1000u);
  EXPECT_TRUE(line.in_turn(7, 2000));
}

TEST(return_line, who_asks_the_same_again_too_early_has_one_place_and_is_told_what_is_left) {
  return_line line;
  line.join(7, small, 0, 500, 1000, 60'000);
  EXPECT_EQ(line.join(8, small, 0, 500, 1000, 60'000), 1500u);
  EXPECT_EQ(line.join(8, small, 250, 500, 1000, 60'000), 1250u);
  EXPECT_EQ(line.join(9, small, 250, 500, 1000, 60'000), 1750u) << "behind two, not three";
  EXPECT_TRUE(line.in_turn(8, 1500));
}

TEST(return_line, who_is_let_in_before_its_turn_leaves_its_place) {
  return_line line;
  line.join(7, small, 0, 500, 1000, 60'000);
  line.enter(7, 300);
  EXPECT_TRUE(line.empty(300));
  line.join(8, small, 400, 500, 1000, 60'000);
  EXPECT_DOUBLE_EQ(line.awaited(400), 0.1) << "it came";
}

TEST(return_line, keeps_room_for_those_who_are_due_by_how_many_come) {
  return_line line;
  line.join(1, small, 0, 1000, 1000, 60'000);
  line.join(2, large, 0, 1000, 1000, 60'000);
  line.join(3, small, 0, 1000, 1000, 60'000);
  EXPECT_EQ(line.kept(0, 2000).choices, 0) << "nothing is known of them";
  line.enter(1, 1000);
  EXPECT_DOUBLE_EQ(line.kept(1000, 1999).prompt_tokens, 0.1 * 400);
  EXPECT_DOUBLE_EQ(line.kept(1000, 2000).prompt_tokens, 0.1 * 500);
  EXPECT_DOUBLE_EQ(line.kept(1000, 2000).choices, 0.1 * 3);
  EXPECT_DOUBLE_EQ(line.kept(5500, 2000).choices, 0.9 * 0.1) << "the second one did not come";
  EXPECT_FALSE(line.empty(6000));
  EXPECT_TRUE(line.empty(6001));
}

TEST(return_line, where_all_come_back_all_is_kept_and_where_nobody_does_nothing) {
  return_line line;
  for (std::uint64_t i = 0; i < 60; ++i) {
    line.join(i, small, 2000.0 * i, 1000, 1000, 60'000);
    line.enter(i, 2000.0 * i + 1000);
  }
  line.join(60, small, 120'000, 1000, 1000, 60'000);
  EXPECT_NEAR(line.kept(120'000, 2000).choices, 1, 0.01);
  for (std::uint64_t i = 61; i < 120; ++i) line.join(i, small, 2000.0 * i, 1000, 1000, 60'000);
  EXPECT_LT(line.kept(240'000, 2000).choices, 0.1);
}

}  // namespace
}  // namespace collm::coordinator
