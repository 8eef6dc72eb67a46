#include "actors/engine.hpp"

#include <algorithm>
#include <map>
#include <span>

#include "actors/engine_messages.hpp"
#include "actors/replies.hpp"
#include "coordinator/admission.hpp"
#include "engine/adapter/adapter.hpp"
#include "messages/assert.hpp"

namespace collm::actors {

namespace {

using self_ptr = engine_actor::stateful_pointer<engine_state>;
using running_request = engine_state::running_request;

// After so many failed steps in a row the state of the executor is not to be trusted: the actor
// ends and is started again.
constexpr std::uint32_t failed_steps_max = 3;
constexpr std::size_t iteration_samples_max = 1024;
constexpr std::uint64_t cold_steps = 8;
constexpr std::uint32_t cold_rows_max = 64;

/// The actor's behavior: one object a actor, shared by its handlers.
class driver {
 public:
  driver(self_ptr self, engine_deps deps, replica_actor owner)
      : self_(self), state_(self->state), deps_(std::move(deps)), owner_(std::move(owner)) {
    state_.model = std::make_unique<coordinator::latency_model>(initial_latency_options());
    state_.planner = std::make_unique<coordinator::step_planner>(deps_.promises);
    state_.training = std::make_unique<training_turn>(
        training_limits{.promises = deps_.promises, .unit_max_ms = deps_.unit_max_ms},
        training_turn::surroundings{.now_ms = [this] { return now_ms(self_); },
                                    .arrived = [this] { return self_->mailbox().size() > 0; },
                                    .alive = [this] { touch(); }});
    state_.report.replica = deps_.name;
    state_.slot_begun_ms = now_ms(self_);
  }

  void admit(const msg<schema::Request>& request, const version_id& version,
             const sink_actor& sink) {
    const auto r = request.read();
    running_request run;
    run.id = r->getId();
    run.sink = sink;
    run.version = version;
    run.prompt_tokens = r->getPrompt().size();
    run.admitted_ms = now_ms(self_);
    run.units_admitted_ms = state_.training->units_ms();
    run.wants_logprobs = r->getSampling().getLogprobs() >= 0;
    run.tenant = r->getTenant();
    run.batch = !r->getInteractive();
    auto spec = spec_of(*r, version);
    run.arrival_ms = run.admitted_ms - static_cast<double>(r->getAgeUs()) / 1000;
    run.choices = std::max<std::uint32_t>(r->getChoices(), 1);
    state_.training->arrived();
    for (std::uint16_t i = 0; i < run.choices; ++i) {
      auto one = spec;
      one.id = state_.next_sequence++;
      one.how.seed = spec.how.seed + i;
      const auto id = one.id;
      if (auto added = deps_.steps->add(std::move(one)); !added) {
        for (auto earlier : run.sequences) drop_sequence(earlier);
        self_->send(sink, reject_message(run.id, added.failure()));
        give_back(run.id, sink);
        return;
      }
      run.sequences.push_back(id);
      state_.choices[id] = {sink->id(), i, run.arrival_ms, -1};
    }
    run.choices_left = static_cast<std::uint32_t>(run.sequences.size());
    ++state_.pins[version];
    self_->monitor(sink);
    self_->send(sink, accepted_message(run, digest_of(version), deps_.name));
    state_.requests.emplace(sink->id(), std::move(run));
    kick();
  }

  void cancel(const sink_actor& sink) {
    if (auto at = state_.requests.find(sink->id()); at != state_.requests.end()) {
      end(at, schema::FinishReason::CANCELLED, "");
    }
  }

  void end_all(const std::string& why) {
    while (!state_.requests.empty()) end(state_.requests.begin(), schema::FinishReason::ERROR, why);
  }

  /// Without its replica nobody sends or hears: the engine ends with it.
  void down(const caf::down_msg& message) {
    if (message.source == owner_.address()) {
      self_->quit();
    } else {
      sink_down(message.source.id());
    }
  }

  void sink_down(caf::actor_id id) {
    if (auto at = state_.requests.find(id); at != state_.requests.end()) {
      end(at, schema::FinishReason::CANCELLED, "");
    }
  }

  reply<void> load(const version_id& version, const engine::adapter_ptr& weights) {
    auto loaded = deps_.steps->load(version, weights);
    if (!loaded) return make_reply(std::move(loaded));
    state_.loaded[version] = {weights->digest, weights->bytes};
    // Wanted again before its last pin ended: it stays, or its end would free what serves now.
    if (auto waiting = state_.leaving.find(version); waiting != state_.leaving.end()) {
      for (auto& promise : waiting->second) promise.deliver(make_reply<void>(result<void>()));
      state_.leaving.erase(waiting);
    }
    return make_reply(std::move(loaded));
  }

  caf::result<reply<void>> unload(const version_id& version) {
    auto promise = self_->make_response_promise<reply<void>>();
    if (state_.pins.contains(version)) {
      state_.leaving[version].push_back(promise);
    } else {
      promise.deliver(leave(version));
    }
    return promise;
  }

  void step() {
    state_.stepping = false;
    touch();
    const double begun = now_ms(self_);
    const auto sequences = planned();
    const auto plan = state_.planner->plan(sequences, *state_.model, planner_limits(), begun);
    for (auto id : plan.preempt) {
      deps_.steps->preempt(id);
      ++state_.report.preemptions;
    }
    if (!plan.work.empty()) {
      run(plan);
    }
    const auto why = train(sequences, plan, begun);
    if (!state_.choices.empty() || goes_on(why)) kick();
  }

  caf::result<reply<engine::unit_report>> take_job(const training_job_ptr& job) {
    auto promise = self_->make_response_promise<reply<engine::unit_report>>();
    state_.training->add(job, [promise](result<engine::unit_report> r) mutable {
      promise.deliver(make_reply(std::move(r)));
    });
    if (state_.training->waits()) kick();
    return promise;
  }

  void grant(double share, bool in_round) {
    state_.training->grant(share, in_round);
    if (state_.training->waits()) kick();
  }

  const replica_actor& owner() const { return owner_; }

  /// Also the turn of a job that waits for credit while nothing else happens: a slot is half of
  /// what credit can be saved.
  void slot() {
    touch();
    state_.training->on_slot();
    report();
    if (state_.training->waits()) kick();
    self_->delayed_send(self_, deps_.slot, slot_tick_);
  }

 private:
  using request_at = std::unordered_map<std::uint64_t, running_request>::iterator;

  void touch() {
    deps_.beat->store(std::chrono::steady_clock::now().time_since_epoch().count(),
                      std::memory_order_relaxed);
  }

  void kick() {
    if (state_.stepping) return;
    state_.stepping = true;
    if (deps_.modelled_turn.count() > 0) {
      self_->delayed_send(self_, deps_.modelled_turn, step_atom::value);
    } else {
      self_->send(self_, step_atom::value);
    }
  }

  training_turn::ended train(const std::vector<coordinator::planned_sequence>& sequences,
                             const coordinator::step_plan& plan, double begun) {
    const double share = state_.training->budget_share();
    const coordinator::iteration_moment m{
        .begun_ms = begun, .step_ms = now_ms(self_) - begun, .budget_share = share};
    return state_.training->run({.begun_ms = begun,
                                 .window_ms = coordinator::training_window_ms(
                                     sequences, plan, *state_.model, deps_.promises, m),
                                 .idle = state_.choices.empty()});
  }

  /// Whether an engine with nothing to serve has a turn at once; one that lacks credit has it with
  /// the next slot.
  static bool goes_on(training_turn::ended why) {
    return why == training_turn::ended::turn_over || why == training_turn::ended::yield;
  }

  std::string digest_of(const version_id& version) const {
    const auto at = state_.loaded.find(version);
    return at == state_.loaded.end() ? "" : at->second.digest;
  }

  coordinator::planner_limits planner_limits() const {
    const auto cache = deps_.steps->cache();
    // Nothing is known of this machine yet: small steps, so that a burst cannot make the first one
    // take seconds.
    const bool cold = state_.report.steps < cold_steps;
    return {.step_tokens_max =
                cold ? std::min(cold_rows_max, deps_.step_tokens_max) : deps_.step_tokens_max,
            .block_tokens = cache.block_tokens,
            .blocks_free = cache.blocks_free};
  }

  std::vector<coordinator::planned_sequence> planned() const {
    std::vector<coordinator::planned_sequence> out;
    const double now = now_ms(self_);
    for (const auto& v : deps_.steps->sequences()) {
      const auto& c = state_.choices.at(v.id);
      const auto& request = state_.requests.at(c.request);
      out.push_back({.id = v.id,
                     .arrival_ms = c.arrival_ms,
                     .first_token_ms = c.first_token_ms,
                     .length = v.length,
                     .computed = v.computed,
                     .produced = v.produced,
                     .max_tokens = v.max_tokens,
                     .blocks = v.blocks,
                     .turn = state_.times.turn(request.tenant, now),
                     .batch = request.batch});
    }
    return out;
  }

  void run(const coordinator::step_plan& plan) {
    std::vector<engine::step_work> work;
    std::uint32_t rows = 0;
    const double begun = now_ms(self_);
    for (const auto& item : plan.work) {
      work.push_back({item.id, item.tokens});
      rows += item.tokens;
      auto& request = state_.requests.at(state_.choices.at(item.id).request);
      charge(request.tenant, item, begun);
      if (request.scheduled_ms < 0) {
        request.scheduled_ms = begun;
        request.units_before_ms = state_.training->units_ms();
      }
    }
    if (plan.features.prefill_tokens > 0) note_cached(work);
    auto emitted = deps_.steps->step(work);
    const double ended = now_ms(self_);
    if (!emitted) {
      fail_step(work, emitted.failure());
      return;
    }
    state_.failures_in_a_row = 0;
    state_.model->observe(plan.features, ended - begun);
    count_step(plan, rows, ended - begun);
    for (const auto& e : *emitted) emit(e, ended);
  }

  /// Its tenant's part of the step. A prompt's last token may count as one of an answer.
  void charge(const std::string& tenant, const coordinator::step_plan::item& item, double now) {
    coordinator::step_features f;
    (item.tokens == 1 ? f.decodes : f.prefill_tokens) = item.tokens;
    state_.times.give(tenant, state_.model->costs().added_ms(f), now);
  }

  void note_cached(const std::vector<engine::step_work>& work) {
    for (const auto& v : deps_.steps->sequences()) {
      const bool now = std::any_of(work.begin(), work.end(), [&](auto& w) { return w.id == v.id; });
      auto& request = state_.requests.at(state_.choices.at(v.id).request);
      if (now && v.produced == 0)
        request.cached_tokens = std::max(request.cached_tokens, v.cached_tokens);
    }
  }

  void count_step(const coordinator::step_plan& plan, std::uint32_t rows, double took_ms) {
    ++state_.slot_steps;
    ++state_.report.steps;
    state_.slot_step_ms += took_ms;
    const auto prefill = static_cast<std::uint64_t>(plan.features.prefill_tokens);
    state_.slot_prompt += prefill;
    state_.report.prompt_tokens += prefill;
    auto& samples = state_.report.iteration_tokens;
    if (samples.size() < iteration_samples_max) samples.push_back(rows);
  }

  void emit(const engine::emission& e, double at_ms) {
    const auto found = state_.choices.find(e.id);
    if (found == state_.choices.end()) return;  // a choice of the same request failed in this step
    auto& c = found->second;
    const auto at = state_.requests.find(c.request);
    auto& run = at->second;
    if (e.finish == engine::finish_reason::failed) {
      run.not_finite = true;
      return end(at, schema::FinishReason::ERROR, e.text);
    }
    if (c.first_token_ms < 0) c.first_token_ms = at_ms;
    if (run.first_token_ms < 0) {
      run.first_token_ms = at_ms;
      run.units_first_ms = state_.training->units_ms();
    }
    ++run.completion_tokens;
    ++state_.slot_generated;
    ++state_.report.generated_tokens;
    self_->send(run.sink, chunk_message(e, run, c.index));
    if (e.finish == engine::finish_reason::none) return;
    ++state_.report.ended_choices;
    run.cut_by_length |= e.finish == engine::finish_reason::length;
    std::erase(run.sequences, e.id);
    state_.choices.erase(found);
    if (--run.choices_left == 0) {
      count_served(run, at_ms);
      end(at, run.cut_by_length ? schema::FinishReason::LENGTH : schema::FinishReason::STOP, "");
    }
  }

  void count_served(const running_request& run, double last_ms) {
    const double gaps = static_cast<double>(run.completion_tokens) / run.choices - 1;
    const auto per_gap = [gaps](double ms) { return gaps > 0 ? ms / gaps : 0; };
    const double units_ms = state_.training->units_ms();
    state_.training->ended_request({.ttft_ms = run.first_token_ms - run.arrival_ms,
                                    .tpot_ms = per_gap(last_ms - run.first_token_ms),
                                    .service_ms = last_ms - run.scheduled_ms,
                                    .units_ms = units_ms - run.units_before_ms,
                                    .units_first_ms = run.units_first_ms - run.units_admitted_ms,
                                    .units_token_ms = per_gap(units_ms - run.units_first_ms)});
  }

  void drop_sequence(engine::sequence_id id) {
    deps_.steps->remove(id);
    state_.choices.erase(id);
  }

  void give_back(request_id id, const sink_actor& sink) {
    self_->send(owner_, done_atom::value, id, sink);
  }

  void end(request_at at, schema::FinishReason reason, const std::string& message) {
    auto run = std::move(at->second);
    state_.requests.erase(at);
    for (auto id : run.sequences) drop_sequence(id);
    self_->demonitor(run.sink.address());
    self_->send(run.sink, finish_message(run, reason, message, now_ms(self_)));
    give_back(run.id, run.sink);
    unpin(run.version);
  }

  void unpin(const version_id& version) {
    const auto pin = state_.pins.find(version);
    COLLM_ASSERT(pin != state_.pins.end() && pin->second > 0);
    if (--pin->second > 0) return;
    state_.pins.erase(pin);
    if (auto waiting = state_.leaving.find(version); waiting != state_.leaving.end()) {
      auto outcome = leave(version);
      for (auto& promise : waiting->second) promise.deliver(outcome);
      state_.leaving.erase(waiting);
    }
  }

  reply<void> leave(const version_id& version) {
    auto unloaded = deps_.steps->unload(version);
    if (unloaded) state_.loaded.erase(version);
    return make_reply(std::move(unloaded));
  }

  void fail_step(const std::vector<engine::step_work>& work, const error& why) {
    deps_.counts->failed();
    for (const auto& w : work) {
      const auto c = state_.choices.find(w.id);
      if (c == state_.choices.end()) continue;  // ended with another choice of its request
      end(state_.requests.find(c->second.request), schema::FinishReason::ERROR, why.message);
    }
    if (++state_.failures_in_a_row >= failed_steps_max) {
      self_->quit(caf::make_error(caf::sec::runtime_error, why.message));
    }
  }

  void report_prefill(replica_report& r, double now) const {
    const auto sequences = planned();
    coordinator::step_features decodes;
    for (const auto& s : sequences) {
      if (!s.decoding()) continue;
      decodes.decodes += 1;
      decodes.decode_context += s.length;
    }
    r.prefill = {.slack_ms = state_.planner->slack_ms(sequences, *state_.model, now)};
    const auto of = [&](std::uint64_t request) -> coordinator::prompt_backlog& {
      return r.prefill.backlog_of[state_.requests.at(request).tenant];
    };
    struct prompt {
      double left = 0, computed = 0, choices = 0;
    };
    std::map<std::uint64_t, prompt> prompts;  // by request: of its first choice, and who follows it
    for (const auto& s : sequences) {
      if (s.produced > 0) continue;
      const auto request = state_.choices.at(s.id).request;
      auto& p = prompts[request];
      if (p.choices > 0 && s.started()) {
        of(request).add_choices(s.left(), s.computed);
      } else if (p.choices++ == 0) {
        p.left = s.left();
        p.computed = s.computed;
      }
    }
    for (const auto& [request, p] : prompts) of(request).add_choices(p.left, p.computed, p.choices);
    const auto backlog = r.prefill.backlog();
    r.backlog_tokens = static_cast<std::uint32_t>(backlog.tokens);
    if (r.prompt_tokens == 0) return;  // what a prompt costs is not known yet
    const auto costs = state_.model->costs();
    r.prefill.pace = coordinator::pace_of(costs, decodes, backlog.work(), deps_.promises);
    r.prefill_tokens_per_ms =
        coordinator::sustained_prefill_per_ms(costs, decodes, {}, deps_.promises.tpot_ms);
  }

  void report() {
    auto& r = state_.report;
    const double now = now_ms(self_);
    const double seconds = std::max(1e-3, (now - state_.slot_begun_ms) / 1000);
    const auto cache = deps_.steps->cache();
    r.running = static_cast<std::uint32_t>(state_.requests.size());
    r.kv_free = cache.blocks_free;
    r.kv_total = cache.blocks_total;
    r.block_tokens = cache.block_tokens;
    r.costs = state_.model->costs();
    r.prefix_queries = cache.prefix_queries;
    r.prefix_hits = cache.prefix_hits;
    r.step_ms_mean =
        state_.slot_steps == 0 ? 0 : state_.slot_step_ms / static_cast<double>(state_.slot_steps);
    r.tokens_per_s = static_cast<double>(state_.slot_generated) / seconds;
    r.prompt_tokens_per_s = static_cast<double>(state_.slot_prompt) / seconds;
    report_prefill(r, now);
    r.memory = deps_.steps->memory();
    r.training = state_.training->take_figures();
    r.versions.clear();
    for (const auto& [id, weights] : state_.loaded) {
      const auto pin = state_.pins.find(id);
      const auto pins = pin == state_.pins.end() ? 0 : pin->second;
      r.versions.push_back({id, pins, weights.bytes, weights.digest});
    }
    self_->send(owner_, std::make_shared<const replica_report>(r));
    r.iteration_tokens.clear();
    state_.slot_begun_ms = now;
    state_.slot_step_ms = 0;
    state_.slot_steps = state_.slot_prompt = state_.slot_generated = 0;
  }

  self_ptr self_;
  engine_state& state_;
  engine_deps deps_;
  replica_actor owner_;
  slot_atom slot_tick_ = slot_atom::value;
};

}  // namespace

coordinator::latency_model::options initial_latency_options() {
  return {.theta = {2.0, 1.0, 1e-4, 2.0, 1e-3}, .scale = {1, 512, 512.0 * 2048, 64, 64.0 * 2048}};
}

engine_actor::behavior_type engine_behavior(self_ptr self, engine_deps deps, replica_actor owner) {
  auto counts = deps.counts;
  watch(self, counts);
  auto d = std::make_shared<driver>(self, std::move(deps), std::move(owner));
  self->set_down_handler([d](caf::scheduled_actor*, caf::down_msg& down) { d->down(down); });
  self->monitor(d->owner());
  const auto m = metered(self, counts);
  d->slot();
  return {
      m([d](const msg<schema::Request>& r, const version_id& v, const sink_actor& s) {
        d->admit(r, v, s);
      }),
      m([d](cancel_atom, request_id, const sink_actor& s) { d->cancel(s); }),
      m([d](load_atom, const version_id& v, const engine::adapter_ptr& w) {
        return d->load(v, w);
      }),
      m([d](unload_atom, const version_id& v) { return d->unload(v); }),
      m([d](train_atom, const training_job_ptr& job) { return d->take_job(job); }),
      m([d](grant_atom, double share, bool in_round) { d->grant(share, in_round); }),
      m([d](drain_atom, const std::string& why) { d->end_all(why); }),
      m([d](step_atom) { d->step(); }),
      m([d](slot_atom) { d->slot(); }),
      m([counts](status_atom) { return counts->status(); }),
  };
}

}  // namespace collm::actors
