#include "coordinator/round_policy.hpp"

#include <gtest/gtest.h>

namespace collm::coordinator {
namespace {

round_policy_options options(std::uint32_t replicas = 2) {
  return {.policy = training_policy::coserve_fill,
          .terms = {.steps = 6, .deadline_ms = 60000, .quorum = 2, .batch_tokens = 1024},
          .replicas = replicas};
}

void hear(round_policy& p, double now, std::uint32_t samples = 100) {
  p.heard({"a/0", samples, 0}, now);
  p.heard({"b/0", samples, 0}, now);
}

const std::vector<planned_member> both = {{"a/0", 6}, {"b/0", 6}};

TEST(steps, are_cut_to_what_the_measured_rate_does_before_the_deadline) {
  const round_terms t{.steps = 6, .deadline_ms = 60000, .batch_tokens = 1024};
  EXPECT_EQ(steps_for(t, {"a/0", 100, 0}), 6u) << "not measured yet";
  EXPECT_EQ(steps_for(t, {"a/0", 100, 1000}), 6u);
  EXPECT_EQ(steps_for(t, {"a/0", 100, 100}), 5u);  // .9 x 100 x 60 / 1024 = 5.27
  EXPECT_EQ(steps_for(t, {"a/0", 100, 10}), 0u);
  EXPECT_EQ(steps_for(t, {"a/0", 0, 1000}), 0u) << "no data";
}

TEST(round_policy, opens_when_all_expected_replicas_are_there) {
  round_policy p(options());
  EXPECT_TRUE(p.next(0).empty());
  p.heard({"a/0", 100, 0}, 0);
  EXPECT_TRUE(p.next(0).empty());
  p.heard({"b/0", 100, 0}, 500);
  EXPECT_EQ(p.next(500), both);
}

TEST(round_policy, waits_a_while_for_the_others_and_then_goes_without_them) {
  round_policy p(options(3));
  hear(p, 0);
  EXPECT_TRUE(p.next(0).empty());
  hear(p, 9000);
  EXPECT_TRUE(p.next(9000).empty());
  hear(p, 10000);
  EXPECT_EQ(p.next(10000), both);
}

TEST(round_policy, asks_nobody_who_is_silent_or_has_no_data) {
  round_policy p(options(0));
  hear(p, 0);
  p.heard({"c/0", 0, 0}, 0);
  p.heard({"d/0", 100, 0}, -6000);
  EXPECT_TRUE(p.next(0).empty());
  EXPECT_EQ(p.next(5000).size(), 0u) << "gathers";
  hear(p, 10000);
  EXPECT_EQ(p.next(10000), both);
}

TEST(round_policy, a_round_that_was_refused_has_asked_nobody) {
  auto o = options(1);
  o.terms.quorum = 1;
  round_policy p(o);
  const auto slow = [&](double now) { p.heard({"a/0", 100, 1}, now); };
  slow(0);
  slow(600000);
  const std::vector<planned_member> one_step = {{"a/0", 1}};
  EXPECT_EQ(p.next(600000), one_step);
  EXPECT_EQ(p.next(601000), one_step) << "the aggregator opened none";
  p.opened(1);
  p.ended(1, false, false, 602000);
  slow(602000);
  EXPECT_TRUE(p.next(602000).empty()) << "now it was asked";
}

TEST(round_policy, asks_a_shadow_that_was_too_slow_for_one_step_every_ten_minutes) {
  round_policy p(options());
  const auto say = [&](double now) {
    p.heard({"a/0", 100, 1000}, now);
    p.heard({"b/0", 100, 1}, now);  // a step would take it 17 minutes
  };
  for (double now = 0; now < 600000; now += 1000) {
    say(now);
    ASSERT_TRUE(p.next(now).empty()) << now;
  }
  say(600000);
  EXPECT_EQ(p.next(600000), (std::vector<planned_member>{{"a/0", 6}, {"b/0", 1}}));
  p.opened(1);
  p.ended(1, false, false, 700000);
  say(700000);
  EXPECT_TRUE(p.next(700000).empty());
  p.heard({"b/0", 100, 1000}, 701000);  // measured anew
  p.heard({"a/0", 100, 1000}, 701000);
  EXPECT_EQ(p.next(701000), both);
}

TEST(round_policy, opens_one_round_after_the_other_until_three_gain_nothing) {
  round_policy p(options());
  hear(p, 0);
  for (std::uint32_t round = 1; round <= 3; ++round) {
    ASSERT_EQ(p.next(0), both) << round;
    p.opened(round);
    EXPECT_TRUE(p.next(0).empty()) << "one is open";
    p.ended(round, false, false, 0);
    p.ended(round, false, false, 0);  // told again
  }
  EXPECT_TRUE(p.exhausted());
  EXPECT_TRUE(p.next(0).empty());
  EXPECT_EQ(p.next(0, true), both) << "a job asks for more";
  hear(p, 1000, 101);
  EXPECT_EQ(p.next(1000), both) << "new data";
}

TEST(round_policy, a_promotion_starts_the_count_anew) {
  round_policy p(options());
  hear(p, 0);
  std::uint32_t round = 0;
  for (bool promoted : {false, false, true, false, false}) {
    p.opened(++round);
    p.ended(round, promoted, false, 0);
  }
  EXPECT_FALSE(p.exhausted());
  EXPECT_EQ(p.next(0), both);
}

TEST(round_policy, waits_longer_after_every_void_round) {
  round_policy p(options());
  double now = 0;
  std::vector<double> waits;
  for (std::uint32_t round = 1; round <= 4; ++round) {
    p.opened(round);
    p.ended(round, false, true, now);
    double wait = 0;
    for (hear(p, now); p.next(now).empty(); now += 1000, wait += 1000) hear(p, now + 1000);
    waits.push_back(wait);
  }
  EXPECT_EQ(waits, (std::vector<double>{1000, 2000, 4000, 8000}));
  EXPECT_EQ(p.voided_in_a_row(), 4u);
  EXPECT_FALSE(p.exhausted()) << "nobody judged anything";
}

TEST(round_policy, of_inference_only_opens_nothing) {
  auto o = options();
  o.policy = training_policy::inference_only;
  round_policy p(o);
  hear(p, 0);
  EXPECT_TRUE(p.next(0, true).empty());
}

TEST(static_split, takes_its_share_of_every_sites_replicas) {
  const auto quarter = static_split_of({{"kitchen", {"a/0", "a/1", "a/2", "a/3"}}}, 0.25);
  ASSERT_TRUE(quarter);
  EXPECT_EQ(*quarter, std::set<std::string>{"a/3"});
  const auto half = static_split_of({{"kitchen", {"a/0", "a/1"}}, {"office", {"c/1", "c/0"}}}, 0.5);
  ASSERT_TRUE(half);
  EXPECT_EQ(*half, (std::set<std::string>{"a/1", "c/1"}));
  auto o = options();
  o.policy = training_policy::static_split;
  o.trainers = *half;
  o.terms.quorum = 1;
  o.replicas = 1;
  round_policy p(o);
  p.heard({"a/0", 100, 0}, 0);
  p.heard({"a/1", 100, 0}, 0);
  EXPECT_EQ(p.next(0), (std::vector<planned_member>{{"a/1", 6}}));
}

TEST(static_split, is_refused_where_a_site_would_keep_no_replica_that_serves) {
  struct small_site {
    double share;
    int count;
    const char* right;
  };
  for (const auto& [share, count, right] :
       {small_site{0.5, 1, "give it 2"}, {0.75, 3, "give it 4"}, {0.25, 1, "give it 2"}}) {
    std::vector<std::string> replicas;
    for (int i = 0; i < count; ++i) replicas.push_back("a/" + std::to_string(i));
    const auto r = static_split_of({{"kitchen", replicas}}, share);
    ASSERT_FALSE(r) << share;
    EXPECT_NE(r.failure().message.find("site 'kitchen'"), std::string::npos);
    EXPECT_NE(r.failure().message.find(right), std::string::npos) << r.failure().message;
    EXPECT_NE(r.failure().message.find("coserve_fill"), std::string::npos);
  }
  EXPECT_FALSE(static_split_of({{"kitchen", {"a/0", "a/1"}}}, 0.6));
}

TEST(policies, are_known_by_name) {
  for (auto p : {training_policy::inference_only, training_policy::static_split,
                 training_policy::coserve_fill})
    EXPECT_EQ(*training_policy_of(to_string(p)), p);
  const auto unknown = training_policy_of("two_timescale");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.failure().message.find("coserve_fill"), std::string::npos);
}

}  // namespace
}  // namespace collm::coordinator
