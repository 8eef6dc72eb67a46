// The training credit, its reactive correction and the felt part.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "coordinator/reactive_share.hpp"
#include "coordinator/training_credit.hpp"

namespace collm::coordinator {
namespace {

training_credit credit_of(double share, double ms) {
  training_credit c({});
  c.set_share(share, true);
  c.advance(ms / share);
  return c;
}

TEST(training_credit, fills_with_time_and_pays_what_units_took) {
  auto c = credit_of(0.4, 100);
  c.advance(50);
  for (double unit : {24, 30, 18}) c.pay(unit);
  EXPECT_NEAR(c.credit_ms(), 48, 1e-9);
}

TEST(training_credit, saves_no_more_than_its_bucket) {
  auto c = credit_of(0.4, 100);
  c.advance(1e9);
  EXPECT_DOUBLE_EQ(c.credit_ms(), 800);
}

TEST(training_credit, overdraws_only_when_idle_and_only_to_the_bucket) {
  auto c = credit_of(0.5, 10);
  EXPECT_TRUE(c.may_start(10, false));
  EXPECT_FALSE(c.may_start(10.5, false));
  EXPECT_TRUE(c.may_start(1010, true));
  EXPECT_FALSE(c.may_start(1011, true));
  c.pay(510);
  EXPECT_FALSE(c.may_start(1, false));  // the debt comes first
  c.advance(1000);
  EXPECT_TRUE(c.may_start(0, false));
}

TEST(training_credit, a_participant_keeps_its_floor_and_a_share_of_nothing_trains_nothing) {
  training_credit c({});
  c.set_share(0, true);
  EXPECT_DOUBLE_EQ(c.share(), 0.05);
  c.set_share(0, false);
  c.advance(1e6);
  EXPECT_FALSE(c.may_start(0, true));
}

TEST(training_credit, unit_time_stays_between_its_floor_and_its_bucket) {
  std::mt19937_64 rng(2);
  std::uniform_real_distribution<double> u(0, 1);
  for (int run = 0; run < 200; ++run) {
    const double share = 0.05 + 0.75 * u(rng);
    training_credit c({});
    c.set_share(share, true);
    double spent = 0, time = 0;
    for (int i = 0; i < 4000; ++i) {
      const double unit = 1 + 19 * u(rng);
      const bool idle = u(rng) < 0.3;
      double dt = 5 * u(rng);
      if (c.may_start(unit, idle)) {
        c.pay(unit);
        spent += unit;
        dt += unit;
      }
      c.advance(dt);
      time += dt;
      ASSERT_LE(spent, share * time + 2 * share * 2000 + 1e-6);
    }
    EXPECT_GE(spent, 0.05 * time - 30);
  }
}

TEST(reactive_share, follows_the_vector) {
  reactive_share r({});
  r.on_plan(0.4);
  struct row {
    std::uint32_t late, done;
    bool quiet;
    double share, budget_share;
  };
  const row rows[] = {{8, 92, false, .2, .9},
                      {2, 98, false, .24, .9},
                      {0, 100, true, .28, .92},
                      {0, 100, false, .304, .94},
                      {50, 50, false, .152, .846}};
  for (const auto& e : rows) {
    r.on_slot({.late = e.late,
               .done = e.done,
               .arrivals_per_s = e.quiet ? 1.0 : 10.0,
               .forecast_per_s = 10});
    EXPECT_NEAR(r.share(), e.share, 1e-9);
    EXPECT_NEAR(r.budget_share(), e.budget_share, 1e-9);
  }
}

TEST(reactive_share, few_outcomes_are_judged_with_those_before) {
  reactive_share r({});
  r.on_plan(0.4);
  r.on_slot({.late = 0, .done = 19});
  r.on_slot({.late = 1, .done = 0});
  EXPECT_DOUBLE_EQ(r.violations(), 0.05);
  r.on_slot({.late = 1, .done = 0});
  EXPECT_DOUBLE_EQ(r.violations(), 0.1);
  EXPECT_DOUBLE_EQ(r.share(), 0.2);
}

TEST(reactive_share, without_traffic_the_past_fades) {
  reactive_share r({});
  r.on_plan(0.4);
  r.on_slot({.late = 3, .done = 3});
  for (int i = 0; i < 40; ++i) r.on_slot({});
  EXPECT_EQ(r.violations(), 0);
  EXPECT_NEAR(r.share(), 0.4, 1e-3);
}

TEST(reactive_share, without_a_plan_training_decays_to_its_floor) {
  reactive_share r({});
  r.on_plan(0.4);
  r.on_slot({.plan_age_ms = 29999});
  EXPECT_NEAR(r.share(), 0.4, 1e-9);
  for (int i = 0; i < 10; ++i) r.on_slot({.plan_age_ms = 30001});
  EXPECT_DOUBLE_EQ(r.share(), 0.05);
  r.on_plan(0.3);
  EXPECT_DOUBLE_EQ(r.share(), 0.3);
}

TEST(reactive_share, the_same_plan_again_does_not_undo_the_correction) {
  reactive_share r({});
  r.on_plan(0.4);
  r.on_slot({.late = 50, .done = 50});
  r.on_plan(0.4);
  EXPECT_DOUBLE_EQ(r.share(), 0.2);
}

TEST(felt_part, samples_and_mean_follow_the_vector) {
  EXPECT_NEAR(felt_sample(400, 500, .25), .8, 1e-12);
  EXPECT_EQ(felt_sample(500, 400, .25), 0);
  EXPECT_EQ(felt_sample(100, 400, .25), 1);
  felt_part f;
  EXPECT_EQ(f.value(), 1);
  f.observe(400, 500, .25);
  EXPECT_NEAR(f.value(), .99, 1e-12);
  f.observe(400, 0, .25);
  f.observe(400, 500, 0);
  EXPECT_NEAR(f.value(), .99, 1e-12);
}

}  // namespace
}  // namespace collm::coordinator
