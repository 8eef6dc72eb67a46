// The fast timescale as a whole: a modelled engine runs iterations (step, then units) over random
// traffic, and the promises of the planner are checked after every one.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <random>
#include <tuple>

#include "coordinator/step_planner.hpp"
#include "coordinator/training_credit.hpp"
#include "coordinator/training_window.hpp"

namespace collm::coordinator {
namespace {

constexpr slo promise{.ttft_ms = 2000, .tpot_ms = 100};
constexpr double unit_ms = 6;  // u_max

latency_model::options profile() {
  return {.theta = {22.05, .1405, 1.616e-5, .0607, 5.93e-4},
          .scale = {1, 1024, 1e6, 64, 64e3},
          .margin = 0};
}

/// One decision, for comparison of two runs.
using logged = std::tuple<double, std::vector<std::pair<std::uint64_t, std::uint32_t>>, int>;

struct run_options {
  std::uint64_t seed = 1;
  double requests_per_s = 1.5;
  bool training = true;
  int iterations = 3000;
};

/// Steps and units take exactly what the model says, so the prediction is the truth.
class modelled_engine {
 public:
  explicit modelled_engine(const run_options& o)
      : options_(o), rng_(o.seed), model_(profile()), planner_(promise) {
    credit_.set_share(0.5, true);
    schedule_arrivals();
  }

  void run() {
    for (int i = 0; i < options_.iterations; ++i) iterate();
  }

  std::vector<logged> log;
  int units = 0, longest_units_in_one = 0, late_by_units = 0, overtaken = 0, over_budget = 0;
  int wrong_decodes = 0, steps = 0;
  double longest_hold_ms = 0;  ///< an arrival during units until the step that packs it

 private:
  void schedule_arrivals() {
    std::exponential_distribution<double> gap(options_.requests_per_s / 1000);
    std::uniform_int_distribution<std::uint32_t> prompt(16, 1200), answer(2, 120);
    double at = 0;
    for (std::uint64_t id = 0; id < 2000; ++id) {
      at += gap(rng_);
      const auto tokens = prompt(rng_);
      coming_.push_back({.id = id, .arrival_ms = at, .length = tokens, .max_tokens = answer(rng_)});
    }
  }

  bool admit() {
    bool any = false;
    while (!coming_.empty() && coming_.front().arrival_ms <= now_) {
      all_.push_back(coming_.front());
      coming_.pop_front();
      any = true;
    }
    return any;
  }

  void iterate() {
    admit();
    if (all_.empty() && !options_.training) {  // nothing to do: wait
      if (coming_.empty()) return;
      now_ = coming_.front().arrival_ms;
      admit();
    }
    const double begun = now_;
    const auto before = all_;
    const auto plan =
        planner_.plan(all_, model_, {.step_tokens_max = 2048, .blocks_free = 100000}, now_);
    check(before, plan);
    execute(plan);
    const double window = training_window_ms(before, plan, model_, promise,
                                             {.begun_ms = begun, .step_ms = now_ - begun});
    const int ran = options_.training ? train(begun, before, plan, window) : 0;
    log.push_back({begun, work_of(plan), ran});
    credit_.advance(now_ - begun);
    if (plan.work.empty() && ran == 0) now_ += 1;
  }

  bool waits() const { return !coming_.empty() && coming_.front().arrival_ms <= now_; }

  static std::vector<std::pair<std::uint64_t, std::uint32_t>> work_of(const step_plan& plan) {
    std::vector<std::pair<std::uint64_t, std::uint32_t>> work;
    for (const auto& item : plan.work) work.emplace_back(item.id, item.tokens);
    return work;
  }

  void check(const std::vector<planned_sequence>& before, const step_plan& plan) {
    double decodes = 0, last_deadline = 0;
    std::size_t decoding = 0;
    for (const auto& s : before) decoding += s.decoding() ? 1 : 0;
    for (const auto& item : plan.work) {
      const auto& s =
          *std::find_if(before.begin(), before.end(), [&](auto& b) { return b.id == item.id; });
      if (s.decoding()) {
        decodes += 1;
        wrong_decodes += item.tokens == 1 ? 0 : 1;
      } else if (now_ <= s.arrival_ms + promise.ttft_ms) {
        overtaken += s.arrival_ms < last_deadline ? 1 : 0;
        last_deadline = s.arrival_ms;
      }
    }
    wrong_decodes += static_cast<std::size_t>(decodes) == decoding ? 0 : 1;
    // Over the budget: decodes alone, the tile of the guard, or a tile where nothing else runs.
    const bool decodes_alone = plan.features.prefill_tokens == 0;
    const bool guard = plan.features.prefill_tokens <= 16;
    over_budget += plan.bound_ms > plan.budget_ms + 1e-9 && !decodes_alone && !guard ? 1 : 0;
    ++steps;
  }

  void execute(const step_plan& plan) {
    if (!plan.work.empty()) now_ += model_.mean_ms(plan.features);
    for (const auto& item : plan.work) {
      auto& s = *std::find_if(all_.begin(), all_.end(), [&](auto& b) { return b.id == item.id; });
      s.computed += item.tokens;
      s.blocks = (s.computed + 15) / 16;
      if (s.left() > 0) continue;
      s.produced += 1;
      s.length += 1;
      if (s.first_token_ms < 0) s.first_token_ms = now_;
    }
    std::erase_if(all_, [](auto& s) { return s.produced >= s.max_tokens; });
  }

  int train(double begun, const std::vector<planned_sequence>& before, const step_plan& plan,
            double window) {
    int ran = 0;
    const double step_end = now_;
    bool arrived = waits();  // the mailbox is read before the first unit too
    double arrived_at = 0;
    for (;;) {
      const unit_moment m{.elapsed_ms = now_ - begun,
                          .unit_bound_ms = unit_ms,
                          .window_ms = window,
                          .credit = credit_.may_start(unit_ms, before.empty()),
                          .arrived = arrived};
      if (judge_unit(m) != unit_verdict::run) break;
      now_ += unit_ms;
      credit_.pay(unit_ms);
      ++ran;
      arrived = waits();
      if (arrived) arrived_at = std::max(step_end, coming_.front().arrival_ms);
      if (ran > 400) break;  // an idle engine: the next iteration goes on
    }
    if (arrived && ran > 0) longest_hold_ms = std::max(longest_hold_ms, now_ - arrived_at);
    const double need = smallest_need_ms(before, plan, model_, promise, begun);
    late_by_units += ran > 0 && now_ - begun > need ? 1 : 0;
    units += ran;
    longest_units_in_one = std::max(longest_units_in_one, ran);
    return ran;
  }

  run_options options_;
  std::mt19937_64 rng_;
  latency_model model_;
  step_planner planner_;
  training_credit credit_{{}};
  std::vector<planned_sequence> all_;
  std::deque<planned_sequence> coming_;
  double now_ = 0;
};

modelled_engine ran(const run_options& o) {
  modelled_engine e(o);
  e.run();
  return e;
}

class iteration : public testing::TestWithParam<double> {};

TEST_P(iteration, keeps_the_planners_promises) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const auto e = ran({.seed = seed, .requests_per_s = GetParam()});
    EXPECT_EQ(e.late_by_units, 0) << "a unit made an on-time request late";
    EXPECT_EQ(e.overtaken, 0) << "an on-time request was overtaken by a later deadline";
    EXPECT_EQ(e.over_budget, 0) << "a step was packed over its budget";
    EXPECT_EQ(e.wrong_decodes, 0) << "a decode had no token, or two, in a step";
    EXPECT_LE(e.longest_hold_ms, unit_ms) << "training held an arrival up";
  }
}
INSTANTIATE_TEST_SUITE_P(loads, iteration, testing::Values(0.2, 1.0, 2.0, 4.0));

TEST(iteration_alone, the_same_log_gives_the_same_decisions) {
  EXPECT_EQ(ran({.seed = 4}).log, ran({.seed = 4}).log);
}

TEST(iteration_alone, training_goes_on_under_a_moderate_load) {
  const auto e = ran({.seed = 3, .requests_per_s = 1});
  EXPECT_GT(e.units, 1000);
  EXPECT_GT(e.longest_units_in_one, 3);
}

TEST(iteration_alone, a_step_is_packed_from_serving_state_alone) {
  // The same state at the same time gives the same plan, whether training is on or not.
  step_planner p(promise), q(promise);
  const latency_model m(profile());
  const std::vector<planned_sequence> state = {
      {.id = 1, .arrival_ms = 0, .length = 700, .max_tokens = 9}};
  const auto a = p.plan(state, m, {.blocks_free = 1000}, 10);
  (void)training_window_ms(state, a, m, promise, {.begun_ms = 10, .budget_share = 0.5});
  const auto b = q.plan(state, m, {.blocks_free = 1000}, 10);
  ASSERT_EQ(a.work.size(), b.work.size());
  EXPECT_EQ(a.work[0].tokens, b.work[0].tokens);
}

std::vector<planned_sequence> thirty_two_decodes(double first_token_ms) {
  std::vector<planned_sequence> all;
  for (std::uint64_t i = 0; i < 32; ++i)
    all.push_back({.id = i,
                   .arrival_ms = first_token_ms - 100,
                   .first_token_ms = first_token_ms,
                   .length = 600,
                   .computed = 599,
                   .produced = 10,
                   .max_tokens = 500,
                   .blocks = 38});
  return all;
}

/// Units that run after a step of `step_ms`, and where they end.
std::pair<int, double> fill(double step_ms, const std::vector<double>& units, double window) {
  double elapsed = step_ms;
  int count = 0;
  for (double ms : units) {
    const unit_moment m{
        .elapsed_ms = elapsed, .unit_bound_ms = ms, .window_ms = window, .credit = true};
    if (judge_unit(m) != unit_verdict::run) break;
    elapsed += ms;
    ++count;
  }
  return {count, elapsed};
}

TEST(training_window, units_fill_the_slack_as_the_vectors_say) {
  const latency_model m(profile());
  step_planner p(promise);
  const auto all = thirty_two_decodes(0);
  const auto plan = p.plan(all, m, {.step_tokens_max = 2048, .blocks_free = 100000}, 940);
  ASSERT_DOUBLE_EQ(plan.budget_ms, 60);
  for (const auto& [share, count, end] : {std::tuple{1.0, 4, 55.378}, std::tuple{.9, 3, 47.378}}) {
    const double window = training_window_ms(
        all, plan, m, promise, {.begun_ms = 940, .step_ms = plan.bound_ms, .budget_share = share});
    const auto [units, elapsed] = fill(plan.bound_ms, {4, 4, 4, 8, 8}, window);
    EXPECT_EQ(units, count);
    EXPECT_NEAR(elapsed, end, 1e-3);
  }
}

TEST(training_window, a_waiting_prompt_bounds_it) {
  const latency_model m(profile());
  step_planner p(promise);
  auto all = thirty_two_decodes(0);
  all.push_back({.id = 90, .arrival_ms = 900, .length = 300, .max_tokens = 16});
  const auto plan = p.plan(all, m, {.step_tokens_max = 2048, .blocks_free = 100000}, 920);
  const auto [units, end] =
      fill(plan.bound_ms, {1.2, 1.2},
           training_window_ms(all, plan, m, promise, {.begun_ms = 920, .step_ms = plan.bound_ms}));
  EXPECT_EQ(units, 1);
  EXPECT_NEAR(end, 79.4552, 1e-3);

  // Another prompt whose rest of prefill must begin within 70 ms: no unit.
  step_plan none = plan;
  const double rest = m.bound_ms(
      {.prefill_tokens = 160, .prefill_pairs = 160 * 80, .decodes = 32, .decode_context = 19200});
  all.push_back(
      {.id = 91, .arrival_ms = 920 - promise.ttft_ms + rest + 70, .length = 160, .max_tokens = 16});
  EXPECT_NEAR(smallest_need_ms(all, none, m, promise, 920), 70, 1e-6);
  const double window =
      training_window_ms(all, none, m, promise, {.begun_ms = 920, .step_ms = plan.bound_ms});
  EXPECT_EQ(fill(plan.bound_ms, {1.2}, window).first, 0);
}

TEST(training_window, an_idle_engine_has_all_the_time_and_an_overloaded_one_none) {
  const latency_model m(profile());
  EXPECT_TRUE(std::isinf(training_window_ms({}, {}, m, promise, {.budget_share = 0.3})));
  const auto all = thirty_two_decodes(0);
  step_plan plan;
  plan.overload = true;
  plan.budget_ms = 20;
  EXPECT_EQ(training_window_ms(all, plan, m, promise, {}), 0);
}

TEST(training_window, a_lost_request_still_gets_a_token_every_promised_time) {
  const latency_model m(profile());
  step_planner p(promise);
  const auto all = thirty_two_decodes(0);
  const double late = 1e6;  // all are lost: the budget is the largest
  const auto plan = p.plan(all, m, {.step_tokens_max = 2048, .blocks_free = 100000}, late);
  ASSERT_DOUBLE_EQ(plan.budget_ms, 500);
  EXPECT_DOUBLE_EQ(training_window_ms(all, plan, m, promise, {.begun_ms = late}), promise.tpot_ms);
}

TEST(training_window, the_second_token_of_an_answer_that_has_just_begun_is_on_time_too) {
  const latency_model m(profile());
  step_planner p(promise);
  const std::vector<planned_sequence> all = {
      {.id = 1, .arrival_ms = 0, .length = 64, .max_tokens = 9}};
  const auto plan = p.plan(all, m, {.blocks_free = 1000}, 0);
  ASSERT_EQ(plan.work.size(), 1u);
  const double next_ms = m.bound_ms({.decodes = 1, .decode_context = 65});
  const auto window = [&](std::uint32_t max_tokens) {
    auto asked = all;
    asked[0].max_tokens = max_tokens;
    return training_window_ms(asked, plan, m, promise, {.step_ms = 31});
  };
  EXPECT_DOUBLE_EQ(window(9), 31 + promise.tpot_ms - next_ms);
  EXPECT_DOUBLE_EQ(window(1), plan.budget_ms);  // nothing follows
}

TEST(training_window, a_request_that_cannot_be_on_time_throttles_nobody) {
  const latency_model m(profile());
  const std::vector<planned_sequence> all = {
      {.id = 1, .arrival_ms = -1990, .length = 900, .max_tokens = 9}};
  step_plan plan;
  plan.budget_ms = 500;
  EXPECT_TRUE(std::isinf(smallest_need_ms(all, plan, m, promise, 0)));
}

TEST(training_window, an_arrival_makes_training_yield_before_anything_else) {
  EXPECT_EQ(
      judge_unit(
          {.elapsed_ms = 0, .unit_bound_ms = 1, .window_ms = 9, .credit = true, .arrived = true}),
      unit_verdict::yield);
  EXPECT_EQ(judge_unit({.elapsed_ms = 9, .unit_bound_ms = 1, .window_ms = 9, .credit = true}),
            unit_verdict::no_time);
  EXPECT_EQ(judge_unit({.elapsed_ms = 0, .unit_bound_ms = 1, .window_ms = 9, .credit = false}),
            unit_verdict::no_credit);
}

}  // namespace
}  // namespace collm::coordinator
