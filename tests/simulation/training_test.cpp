// The engine actor trains in the slack between its serving steps: invariants I1, I3, I4 and I5 of
// the fast timescale on virtual time, and what becomes of jobs.
#include <gtest/gtest.h>

#include <cmath>

#include "coordinator/admission.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/support/modelled_executor.hpp"
#include "tests/support/modelled_trainer.hpp"
#include "tests/support/serving_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using testing_support::engine_rig;
using testing_support::modelled_executor;
using testing_support::modelled_trainer;
using testing_support::serving_rig;
using clock = std::chrono::steady_clock;

constexpr coordinator::slo promises{.ttft_ms = 2000, .tpot_ms = 60};
constexpr auto unit_time = 6ms;

double ms(clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

result<void> one_batch(engine::trainer& t) { return t.begin_batch({{.tokens = {1, 2}}}); }

/// An engine whose steps and units take what a model of the machine says, exactly.
class trained_engine {
 public:
  explicit trained_engine(std::chrono::microseconds unit = unit_time) : rig(executor_, promises) {
    executor_->computes = [this](const coordinator::step_features& f) {
      steps.push_back({now(), {}, f.prefill_tokens, f.decodes});
      rig.compute(std::chrono::microseconds(
          std::llround(4000 + 100 * f.prefill_tokens + 900 * f.decodes + f.decode_context)));
      steps.back().ended = now();
    };
    trainer->computes = [this, unit](const engine::training_unit&) {
      units.push_back(now());
      rig.compute(unit);
    };
  }

  struct step {
    clock::time_point begun, ended;
    double prefill, decodes;
    friend bool operator==(const step&, const step&) = default;
  };
  clock::time_point now() const { return rig.system.now(); }
  void train_on() { rig.train_on(trainer, one_batch); }
  void pass(std::chrono::milliseconds time) { rig.pass(time); }
  double units_ms(clock::time_point from, clock::time_point to) const {
    return ms(unit_time) *
           static_cast<double>(std::count_if(units.begin(), units.end(),
                                             [&](auto at) { return at >= from && at < to; }));
  }
  /// Poisson arrivals of short questions.
  void expect_requests(double per_s, std::chrono::seconds time, std::uint64_t seed) {
    double at = ms(now().time_since_epoch());
    const double end = at + ms(time);
    for (std::uint64_t i = 0;; ++i) {
      at += -std::log(1 - coordinator::hash01(seed * 1000003 + 2 * i)) * 1000 / per_s;
      if (at > end) return;
      const auto length = 10 + coordinator::hash01(seed * 1000003 + 2 * i + 1) * 200;
      engine_rig::request r;
      r.prompt.assign(static_cast<std::size_t>(length), static_cast<std::int32_t>(i));
      r.answer_tokens = 4 + static_cast<std::uint32_t>(length) % 40;
      rig.coming.emplace_back(clock::time_point(std::chrono::microseconds(std::llround(at * 1000))),
                              r);
    }
  }
  std::uint32_t late() const {
    std::uint32_t n = 0;
    for (const auto& [id, a] : rig.answers) {
      const double gaps = static_cast<double>(a.tokens.size()) - 1;
      const bool kept = a.finished == 1 && ms(a.first - a.due) <= promises.ttft_ms &&
                        (gaps <= 0 || ms(a.last - a.first) / gaps <= promises.tpot_ms);
      n += kept ? 0 : 1;
    }
    return n;
  }

 private:
  std::shared_ptr<modelled_executor> executor_ = std::make_shared<modelled_executor>(4000);

 public:
  engine_rig rig;
  std::shared_ptr<modelled_trainer> trainer = std::make_shared<modelled_trainer>();
  std::vector<step> steps;
  std::vector<clock::time_point> units;
};

TEST(training, a_job_ends_with_the_report_of_its_last_unit) {
  trained_engine e;
  e.rig.grant(0.5);
  const auto first = e.rig.train(e.trainer, one_batch);
  const auto copied = e.rig.train(e.trainer, [](engine::trainer&) { return result<void>(); });
  e.pass(1000ms);
  ASSERT_TRUE(e.rig.outcomes[first] && *e.rig.outcomes[first]);
  EXPECT_EQ((*e.rig.outcomes[first])->batch->step, 1u);
  ASSERT_TRUE(e.rig.outcomes[copied] && *e.rig.outcomes[copied]);
  EXPECT_FALSE((*e.rig.outcomes[copied])->batch);
  EXPECT_EQ(e.rig.training().units_total, 10u);
  EXPECT_EQ(e.rig.training().tokens, 64u);
}

TEST(training, without_a_share_jobs_wait_and_copying_goes_on) {
  trained_engine e;
  const auto copied = e.rig.train(e.trainer, [](engine::trainer&) { return result<void>(); });
  const auto batch = e.rig.train(e.trainer, one_batch);
  e.pass(3000ms);
  EXPECT_TRUE(e.rig.outcomes[copied]);
  EXPECT_FALSE(e.rig.outcomes[batch]);
  EXPECT_EQ(e.trainer->units, 0u);
  e.rig.grant(0.2, false);
  e.pass(3000ms);
  EXPECT_TRUE(e.rig.outcomes[batch]);
}

TEST(training, more_jobs_than_an_engine_holds_are_refused_at_once) {
  trained_engine e;
  for (int i = 0; i < 5; ++i) e.rig.train(e.trainer, one_batch);
  e.rig.system.settle();
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(e.rig.outcomes[i]) << i;
  ASSERT_TRUE(e.rig.outcomes[4]);
  EXPECT_EQ(e.rig.outcomes[4]->failure().code, errc::overloaded);
}

TEST(training, a_job_that_fails_or_throws_ends_and_the_next_one_begins_clean) {
  for (const bool throws : {false, true}) {
    trained_engine e;
    (throws ? e.trainer->throws_at : e.trainer->fails_at) = 3;
    e.rig.grant(0.5);
    const auto refused = e.rig.train(e.trainer, [](auto& t) { return t.begin_batch({}); });
    const auto failing = e.rig.train(e.trainer, one_batch);
    const auto whole = e.rig.train(e.trainer, one_batch);
    const auto serves = e.rig.send({.answer_tokens = 30});
    e.pass(2000ms);
    ASSERT_TRUE(e.rig.outcomes[refused] && e.rig.outcomes[failing] && e.rig.outcomes[whole]);
    EXPECT_EQ(e.rig.outcomes[refused]->failure().code, errc::bad_request);
    EXPECT_EQ(e.rig.outcomes[failing]->failure().code, throws ? errc::internal : errc::bad_request);
    EXPECT_EQ(e.trainer->abandoned, 1u);
    EXPECT_TRUE(*e.rig.outcomes[whole]);
    EXPECT_EQ(e.rig.answers[serves].tokens.size(), 30u);
    EXPECT_EQ(e.rig.training().failed_jobs, 2u);
  }
}

TEST(training, i1_units_that_take_no_time_change_no_serving_decision) {
  const auto steps = [](double share, bool jobs) {
    trained_engine e(0us);
    e.trainer->layers = 200;
    e.rig.grant(share, share > 0);
    if (jobs) e.rig.train(e.trainer, one_batch);
    e.expect_requests(2, 20s, 3);
    e.pass(25s);
    EXPECT_EQ(e.late(), 0u);
    return e.steps;
  };
  const auto alone = steps(0, false);
  EXPECT_GT(alone.size(), 500u);
  EXPECT_EQ(alone, steps(0, true)) << "a job that waits for a share";
  EXPECT_EQ(alone, steps(0.8, true)) << "a job that trains";
}

TEST(training, i3_no_unit_makes_a_request_late) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    std::uint32_t late[2];
    for (const bool trains : {false, true}) {
      trained_engine e;
      e.rig.grant(0.8);
      if (trains) e.train_on();
      e.expect_requests(3, 60s, seed);
      e.pass(64s);
      late[trains] = e.late();
      if (trains) {
        EXPECT_GT(e.units_ms({}, clock::time_point::max()), 0.2 * 60000) << "little was trained";
        EXPECT_GT(e.rig.training().no_time, 30u) << "slack was never the bound";
      }
    }
    EXPECT_EQ(late[0], 0u);
    EXPECT_EQ(late[1], 0u) << "seed " << seed;
  }
}

TEST(training, the_second_token_of_an_answer_is_not_held_up_by_units) {
  trained_engine e;
  e.rig.grant(1);
  e.train_on();
  e.expect_requests(2, 30s, 5);
  for (auto& [due, r] : e.rig.coming) r.answer_tokens = 2;
  e.pass(32s);
  ASSERT_GT(e.rig.answers.size(), 30u);
  for (const auto& [id, a] : e.rig.answers) EXPECT_LE(ms(a.last - a.first), promises.tpot_ms) << id;
  EXPECT_GT(e.units_ms({}, clock::time_point::max()), 15000);
}

TEST(training, a_promise_that_no_unit_broke_takes_nothing_from_training) {
  trained_engine e;
  e.rig.grant(0.5);
  e.train_on();
  // 62 ms a token without training if all decode together: the planner lets fewer, and some are
  // late.
  for (int i = 0; i < 64; ++i) e.rig.send({.answer_tokens = 60});
  e.pass(10s);
  EXPECT_GT(e.late(), 10u);
  EXPECT_EQ(e.rig.training().violations, 0);
  EXPECT_EQ(e.rig.training().share, 0.5);
}

TEST(training, i4_an_arrival_waits_for_one_unit_at_most) {
  trained_engine e;
  e.rig.grant(0.8);
  e.train_on();
  e.expect_requests(0.7, 120s, 7);
  for (auto& [due, r] : e.rig.coming) r.answer_tokens = 1;
  e.pass(122s);
  ASSERT_GT(e.rig.answers.size(), 50u);
  std::uint32_t held_up = 0;
  for (const auto& [id, a] : e.rig.answers) {
    // What arrives within a step is packed by the next one: no unit comes between.
    const auto within = std::find_if(e.steps.begin(), e.steps.end(), [&](const auto& s) {
      return s.begun <= a.due && a.due < s.ended;
    });
    const bool in_step = within != e.steps.end();
    const auto from = in_step ? within->ended : a.due;
    const auto packed = std::find_if(e.steps.begin(), e.steps.end(),
                                     [&](const auto& s) { return s.begun >= from; });
    ASSERT_NE(packed, e.steps.end());
    const double held = ms(packed->begun - from);
    // What virtual time adds to a turn: a delivery on the next millisecond.
    EXPECT_LE(held, (in_step ? 0 : ms(unit_time)) + 1.1);
    held_up += held > 2 ? 1 : 0;
  }
  EXPECT_GT(held_up, 5u) << "some arrive within a unit";
  EXPECT_GT(e.rig.training().yields, 5u);
}

TEST(training, i5_unit_time_stays_between_its_floor_and_its_bucket) {
  struct given {
    double share;
    bool in_round;
    double counts;
  };
  for (const auto& g : {given{0.3, false, 0.3}, given{0, true, 0.05}, given{0.6, true, 0.6}}) {
    for (const double load : {0.0, 2.0}) {
      trained_engine e;
      e.rig.grant(g.share, g.in_round);
      e.train_on();
      if (load > 0) e.expect_requests(load, 20s, 5);
      const auto from = e.now();
      e.pass(20s);  // less than a plan's life
      const double units = e.units_ms(from, e.now()), passed = ms(e.now() - from);
      EXPECT_LE(units, g.counts * (passed + 2000 + 2000) + ms(unit_time)) << g.share;
      EXPECT_GE(units, 0.9 * g.counts * passed) << g.share << " at " << load;
    }
  }
}

TEST(training, idle_engines_overdraw_and_repay_before_they_train_beside_requests) {
  trained_engine e;
  e.rig.grant(0.5);
  e.train_on();
  const auto from = e.now();
  e.pass(990ms);
  EXPECT_GT(e.units_ms(from, e.now()), 900) << "nothing else to do: all of the second";
  e.pass(1500ms);
  const double before = e.units_ms(from, e.now());
  EXPECT_NEAR(before, 1000 + 0.5 * 2000, 50) << "the bucket, and what came with the slots";
  e.rig.send({.answer_tokens = 100});
  e.pass(400ms);
  EXPECT_DOUBLE_EQ(e.units_ms(from, e.now()), before) << "the debt comes first";
}

TEST(training, an_old_plan_decays_to_the_floor) {
  trained_engine e;
  e.rig.grant(0.8);
  e.train_on();
  e.pass(29s);
  EXPECT_DOUBLE_EQ(e.rig.training().share, 0.8);
  e.pass(20s);
  EXPECT_DOUBLE_EQ(e.rig.training().share, 0.05);
  e.rig.grant(0.6);
  e.pass(1500ms);
  EXPECT_DOUBLE_EQ(e.rig.training().share, 0.6);
}

TEST(training, a_steady_load_delays_the_first_measure_and_never_prevents_it) {
  trained_engine e;
  e.rig.grant(0.012, false);  // saves up 24 ms at most, and an unknown unit is charged 40
  e.rig.send({.answer_tokens = 1u << 20});  // never idle
  e.pass(500ms);
  e.train_on();
  e.pass(2000ms);
  EXPECT_EQ(e.trainer->units, 0u);
  e.pass(27s);
  EXPECT_GT(e.trainer->units, 0u);
}

TEST(training, a_unit_above_max_unit_is_an_event_once) {
  serving_rig rig;
  auto trainer = std::make_shared<modelled_trainer>();
  trainer->computes = [&](const engine::training_unit&) { rig.system.compute(45ms); };
  caf::anon_send(rig.replica, actors::grant_atom::value, 0.8, true);
  const actors::training_job_ptr job =
      std::make_shared<const actors::training_job>(actors::training_job{trainer, one_batch});
  for (int i = 0; i < 3; ++i) caf::anon_send(rig.replica, actors::train_atom::value, job);
  rig.system.pass(5s);
  const auto told = rig.events("unit_too_long");
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("edge-a/0"), std::string::npos);
  const auto text = rig.system.ask<std::string>(rig.telemetry, actors::metrics_atom::value);
  EXPECT_NE(text.find("collm_training_units_total{engine=\"edge-a/0\""), std::string::npos);
  const auto snapshot =
      rig.system.ask<msg<schema::Snapshot>>(rig.telemetry, actors::list_atom::value);
  EXPECT_FLOAT_EQ(snapshot.read()->getReplicas()[0].getTrainingShare(), 0.8F);
}

TEST(training, sizes_that_fit_are_offered_and_long_units_counted) {
  trained_engine fits, slow(45ms);
  for (auto* e : {&fits, &slow}) {
    e->rig.grant(0.8);
    e->train_on();
    e->pass(5000ms);
  }
  EXPECT_EQ(fits.rig.training().window_tokens, 128u);  // 6 ms of 64 tokens; 20 ms at most
  EXPECT_EQ(fits.rig.training().long_units, 0u);
  EXPECT_GT(fits.rig.training().tokens_per_s, 0);
  EXPECT_EQ(slow.rig.training().head_tokens, 0u) << "not even the optimizer's step fits";
  EXPECT_GT(slow.rig.training().long_units, 0u);
}

TEST(training, an_engine_that_dies_answers_its_jobs_and_the_next_one_drops_what_it_left) {
  serving_rig rig;
  auto trainer = std::make_shared<modelled_trainer>();
  std::vector<actors::reply<engine::unit_report>> outcomes(2);
  const auto train = [&](std::size_t place) {
    auto job =
        std::make_shared<const actors::training_job>(actors::training_job{trainer, one_batch});
    rig.system.get().spawn([&, place, job](caf::event_based_actor* self) {
      self->request(rig.replica, caf::infinite, actors::train_atom::value, job)
          .then([&, place](const actors::reply<engine::unit_report>& a) { outcomes[place] = a; });
    });
  };
  trainer->computes = [&](const engine::training_unit&) { rig.system.compute(unit_time); };
  train(0);  // begun, and without a share it waits for its first unit
  rig.system.pass(100ms);
  rig.executor->failing_steps = 1000;
  for (std::uint32_t i = 0; i < 4; ++i) {
    rig.send("assistant", {i}, 10);
    rig.system.pass(2s);
  }
  ASSERT_GE(rig.engines_made, 2);
  ASSERT_TRUE(outcomes[0]);
  EXPECT_EQ(outcomes[0]->failure().code, errc::unavailable);
  rig.executor->failing_steps = 0;
  caf::anon_send(rig.replica, actors::grant_atom::value, 0.5, true);
  train(1);
  rig.system.pass(2s);
  ASSERT_TRUE(outcomes[1] && *outcomes[1]);
  EXPECT_EQ(trainer->abandoned, 1u);
  EXPECT_EQ(trainer->batches, 1u);
}

}  // namespace
}  // namespace collm
