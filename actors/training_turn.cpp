#include "actors/training_turn.hpp"

#include <algorithm>
#include <exception>
#include <string>

namespace collm::actors {

namespace {

using coordinator::unit_verdict;
constexpr double unknown_of_max = 2, patience = 0.9;
constexpr double begin_wait_max_ms = 5000;
constexpr std::size_t rate_slots = 10;
// Larger than any trainer asks for: sizes are offered, the trainer's owner takes the smaller ones.
constexpr coordinator::unit_sizes sizes_most{.window_tokens = 512, .head_tokens = 512};

/// The wall between training and serving: what a unit throws ends its job, not the requests.
template <class F>
auto walled(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::exception& e) {
    return error{errc::internal, std::string("training threw: ") + e.what()};
  }
}

}  // namespace

training_turn::training_turn(training_limits limits, surroundings around)
    : limits_(limits),
      around_(std::move(around)),
      unknown_ms_(unknown_of_max * limits.unit_max_ms) {
  advanced_ms_ = slot_ms_ = granted_ms_ = around_.now_ms();
}

void training_turn::add(training_job_ptr job, answer done) {
  if (!job || !job->on || !job->begin)
    return done(error{errc::bad_request, "a training job needs a trainer and a beginning"});
  if (jobs_.size() >= limits_.jobs_max)
    return done(error{errc::overloaded,
                      std::to_string(limits_.jobs_max) + " training jobs wait at this engine",
                      1000});
  jobs_.push_back({std::move(job), std::move(done), around_.now_ms()});
}

void training_turn::advance(double now) {
  credit_.advance(now - advanced_ms_);
  advanced_ms_ = now;
}

void training_turn::grant(double share, bool in_round) {
  const double now = around_.now_ms();
  advance(now);  // what passed was under the share before
  granted_ms_ = now;
  in_round_ = in_round;
  reactive_.on_plan(share);
  credit_.set_share(reactive_.share(), in_round_);
}

training_turn::candidate training_turn::next_of(const queued& job) {
  if (!job.begun)
    return {.unit = {},
            .bound_ms = begin_ms_,
            .overdue = around_.now_ms() - job.since_ms > begin_wait_max_ms};
  const auto unit = job.work->on->next();
  const auto kind = kind_of(unit->kind);
  if (!times_.known(kind)) return {.unit = unit, .bound_ms = unknown_ms_, .measured = false};
  return {.unit = unit, .bound_ms = times_.bound_ms(kind, unit->tokens)};
}

unit_verdict training_turn::judge(const candidate& c, const training_moment& m) const {
  constexpr double always = std::numeric_limits<double>::infinity();
  return coordinator::judge_unit({.elapsed_ms = around_.now_ms() - m.begun_ms,
                                  .unit_bound_ms = c.bound_ms,
                                  .window_ms = m.idle || c.overdue ? always : m.window_ms,
                                  .credit = !c.unit || credit_.may_start(c.bound_ms, m.idle),
                                  .arrived = around_.arrived()});
}

training_turn::ended training_turn::run(const training_moment& m) {
  if (jobs_.empty()) return ended::no_job;
  ++figures_.turns;
  const double turn_begun = around_.now_ms();
  while (!jobs_.empty()) {
    const double now = around_.now_ms();
    if (m.idle && now - turn_begun >= limits_.idle_turn_ms) return ended::turn_over;
    advance(now);
    auto& job = jobs_.front();
    const auto next = next_of(job);
    if (const auto v = judge(next, m); v != unit_verdict::run) return note(v, next);
    if (next.unit) {
      run_unit(job, next);
    } else {
      begin(job);
    }
    around_.alive();
  }
  return ended::no_job;
}

training_turn::ended training_turn::note(unit_verdict v, const candidate& c) {
  if (v == unit_verdict::yield) {
    ++figures_.yields;
    return ended::yield;
  }
  unknown_held_ |= !c.measured;
  if (v == unit_verdict::no_time) {
    ++figures_.no_time;
    return ended::no_time;
  }
  ++figures_.no_credit;
  return ended::no_credit;
}

void training_turn::pay(double ms) {
  credit_.pay(ms);
  figures_.unit_ms_total += ms;
  figures_.unit_ms += ms;
}

void training_turn::begin(queued& job) {
  const double begun = around_.now_ms();
  auto& trainer = *job.work->on;
  const auto done = walled([&]() -> result<void> {
    if (trainer.next()) trainer.abandon();
    return job.work->begin(trainer);
  });
  const double took = around_.now_ms() - begun;
  begin_ms_ = std::max(took, patience * begin_ms_);
  pay(took);
  job.begun = true;
  if (!done) {
    finish(done.failure());
  } else if (!trainer.next()) {
    finish(engine::unit_report{});
  }
}

void training_turn::run_unit(queued& job, const candidate& c) {
  const double begun = around_.now_ms();
  auto& trainer = *job.work->on;
  auto done = walled([&] { return trainer.run(); });
  const double took = around_.now_ms() - begun;
  (void)times_.observe({kind_of(c.unit->kind), c.unit->tokens, took});  // 0 ms teaches nothing
  pay(took);
  ++figures_.units;
  ++figures_.units_total;
  if (c.measured) {
    figures_.longest_bound_ms = std::max(figures_.longest_bound_ms, c.bound_ms);
    figures_.long_units += c.bound_ms > limits_.unit_max_ms ? 1 : 0;
  }
  if (!done) return finish(done.failure());
  if (done->batch) figures_.tokens += done->batch->tokens;
  if (!trainer.next()) finish(*std::move(done));
}

void training_turn::finish(result<engine::unit_report> outcome) {
  const auto job = std::move(jobs_.front());
  jobs_.pop_front();
  if (!outcome) {
    ++figures_.failed_jobs;
    if (job.work->on->next()) job.work->on->abandon();
  }
  job.done(std::move(outcome));
}

void training_turn::ended_request(const served_request& r) {
  const auto broken_by_units = [](double took_ms, double units_ms, double promised_ms) {
    return took_ms > promised_ms && took_ms - units_ms <= promised_ms;
  };
  const bool late = broken_by_units(r.ttft_ms, r.units_first_ms, limits_.promises.ttft_ms) ||
                    broken_by_units(r.tpot_ms, r.units_token_ms, limits_.promises.tpot_ms);
  ++(late ? late_ : done_);
  felt_.observe(r.service_ms - r.units_ms, r.service_ms, credit_.share());
}

void training_turn::on_slot() {
  const double now = around_.now_ms();
  const double seconds = std::max(1e-3, (now - slot_ms_) / 1000);
  advance(now);
  reactive_.on_slot({.late = late_,
                     .done = done_,
                     .arrivals_per_s = arrivals_ / seconds,
                     .forecast_per_s = 0,
                     .plan_age_ms = now - granted_ms_});
  credit_.set_share(reactive_.share(), in_round_);
  if (unknown_held_) unknown_ms_ *= patience;
  unknown_held_ = false;
  late_ = done_ = arrivals_ = 0;
  slot_ms_ = now;
  trained_.emplace_back(now, figures_.tokens);
  if (trained_.size() > rate_slots + 1) trained_.pop_front();
}

replica_report::training_figures training_turn::take_figures() {
  auto out = figures_;
  out.share = credit_.share();
  out.budget_share = reactive_.budget_share();
  out.credit_ms = credit_.credit_ms();
  out.violations = reactive_.violations();
  out.felt = felt_.value();
  out.jobs = static_cast<std::uint32_t>(jobs_.size());
  if (trained_.size() > 1) {
    const auto& [from, before] = trained_.front();
    const auto& [to, after] = trained_.back();
    out.tokens_per_s = to > from ? static_cast<double>(after - before) * 1000 / (to - from) : 0;
  }
  if (const auto sizes = times_.sizes_for(limits_.unit_max_ms, sizes_most)) {
    out.window_tokens = sizes->window_tokens;
    out.head_tokens = sizes->head_tokens;
  }
  figures_.units = 0;
  figures_.unit_ms = figures_.longest_bound_ms = 0;
  return out;
}

}  // namespace collm::actors
