#include "actors/replica.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "actors/replies.hpp"

namespace collm::actors {

namespace {

using self_ptr = replica_actor::stateful_pointer<replica_state>;

// Official SDKs ignore a longer advice; a shorter one only knocks more often.
constexpr std::uint32_t retry_after_ms_min = 1000, retry_after_ms_max = 60'000;
// Who was turned away comes back to a replica that is not full again.
constexpr double returns_share = 0.8;
// Whoever asks for all of the engine beside others fills steps only so far, of what the promise
// allows: the others wait for these steps, too.
constexpr double modest_share = 0.5;
constexpr double engine_retry_ms = 1000;

class desk {
 public:
  desk(self_ptr self, replica_deps deps, engine_maker make_engine)
      : self_(self),
        state_(self->state),
        deps_(std::move(deps)),
        make_engine_(std::move(make_engine)) {
    start_engine();
  }

  void admit(const msg<schema::Request>& request, const version_id& version,
             const sink_actor& sink) {
    const auto r = request.read();
    if (!ensure_engine()) {
      refuse(*r, sink,
             {errc::unavailable, "the engine of " + deps_.name + " is starting again", 1000});
      return;
    }
    if (!version.is_base() && !state_.versions.contains(version)) {
      // It left after the router chose it: the sender asks the router again, which knows what
      // serves now.
      refuse(*r, sink, {errc::unavailable, to_string(version) + " is leaving " + deps_.name, 1000});
      return;
    }
    replica_state::held h{request,
                          version,
                          sink,
                          std::max<std::uint32_t>(r->getChoices(), 1),
                          r->getPrompt().size(),
                          r->getMaxTokens(),
                          r->getInteractive(),
                          r->getTenant(),
                          now_ms(self_)};
    state_.times.ask(h.tenant, cost_ms(h), h.prompt_tokens, h.since_ms);
    const auto question = question_of(*r);
    auto& line = state_.lines[h.tenant];
    auto claims = state_.times.claims_before(h.tenant, h.since_ms);
    for (auto& c : claims)  // who was told to come back is silent until then
      if (const auto at = state_.lines.find(c.tenant); at != state_.lines.end())
        c.stays = std::max(c.stays, at->second.awaited(h.since_ms));
    const auto decision = decide(h, line.in_turn(question, h.since_ms), line, claims);
    if (!decision.admit) {
      const auto why = deps_.name + " is at capacity: " + told(decision) +
                       (claims.empty() ? "" : ", beside what tenants that had less ask for");
      refuse(*r, sink, {errc::overloaded, why, turn_of(h, question, line, claims, decision)});
      return;
    }
    line.enter(question, h.since_ms);
    state_.admitted_slot += h.prompt_tokens;
    self_->monitor(sink);
    state_.waiting.push_back(std::move(h));
    pump();
  }

  void cancel(request_id id, const sink_actor& sink) {
    if (drop_waiting(sink.id())) {
      self_->demonitor(sink.address());
      self_->send(sink, finish_message(id, schema::FinishReason::CANCELLED, ""));
    } else if (state_.engine && state_.in_engine.contains(sink.id())) {
      self_->send<caf::message_priority::high>(state_.engine, cancel_atom::value, id, sink);
    }
  }

  void done(const sink_actor& sink) {
    const auto at = state_.in_engine.find(sink.id());
    if (at == state_.in_engine.end()) return;  // the engine died and it was accounted for
    state_.choices_in_engine -= at->second.choices;
    self_->demonitor(sink.address());
    state_.in_engine.erase(at);
    pump();
  }

  void report(const replica_report_ptr& r) {
    const double now = now_ms(self_);
    const double seconds = (now - state_.last_report_ms) / 1000;
    if (state_.last_report_ms > 0 && seconds > 0) {
      state_.admitted_per_s += 0.3 * (state_.admitted_slot / seconds - state_.admitted_per_s);
      learn_ends(*r, seconds);
    }
    state_.admitted_slot = 0;
    state_.last_report_ms = now;
    for (auto line = state_.lines.begin(); line != state_.lines.end();)
      line = line->second.empty(now) ? state_.lines.erase(line) : std::next(line);
    tell_long_units(*r);
    state_.last = r;
    auto whole = std::make_shared<replica_report>(*r);
    whole->queued = static_cast<std::uint32_t>(state_.waiting.size());
    for (const auto& w : state_.waiting) whole->backlog_tokens += w.prompt_tokens;
    const replica_report_ptr told = std::move(whole);
    for (const auto& router : deps_.routers) self_->send(router, told);
    self_->send(deps_.telemetry, told);
  }

  caf::result<reply<void>> load_version(const version_id& v, const engine::adapter_ptr& weights) {
    auto promise = self_->make_response_promise<reply<void>>();
    if (!ensure_engine()) {
      promise.deliver(
          make_reply<void>(error{errc::unavailable, deps_.name + " is starting again", 1000}));
      return promise;
    }
    self_->request(state_.engine, caf::infinite, load_atom::value, v, weights)
        .then(
            [this, promise, v, weights](const reply<void>& r) mutable {
              if (*r) state_.versions[v] = weights;
              promise.deliver(r);
            },
            [promise](const caf::error&) mutable { promise.deliver(engine_gone()); });
    return promise;
  }

  caf::result<reply<void>> unload_version(const version_id& v) {
    auto promise = self_->make_response_promise<reply<void>>();
    state_.versions.erase(v);  // no new request may name it; one that waits here goes elsewhere
    send_back(v);
    if (!state_.engine) {
      promise.deliver(make_reply<void>(result<void>()));
      return promise;
    }
    self_->request(state_.engine, caf::infinite, unload_atom::value, v)
        .then([promise](const reply<void>& r) mutable { promise.deliver(r); },
              [promise](const caf::error&) mutable { promise.deliver(engine_gone()); });
    return promise;
  }

  caf::result<reply<engine::unit_report>> train(const training_job_ptr& job) {
    auto promise = self_->make_response_promise<reply<engine::unit_report>>();
    if (!ensure_engine()) {
      promise.deliver(no_training());
      return promise;
    }
    const auto id = state_.next_job++;
    state_.training.emplace(id, promise);
    self_->request(state_.engine, caf::infinite, train_atom::value, job)
        .then([this, id](const reply<engine::unit_report>& r) { answer_job(id, r); },
              [this, id](const caf::error&) { answer_job(id, no_training()); });
    return promise;
  }

  /// A new engine trains again with the next grant.
  void grant(double share, bool in_round) {
    if (state_.engine) self_->send(state_.engine, grant_atom::value, share, in_round);
  }

  /// What waits here may go elsewhere; the engine ends what it has, in the order of the messages.
  void end_all(const std::string& why) {
    for (const auto& h : std::exchange(state_.waiting, {})) send_back(h, why);
    if (state_.engine) self_->send(state_.engine, drain_atom::value, why);
  }

  void down(const caf::down_msg& message) {
    if (state_.engine && message.source == state_.engine.address()) {
      engine_died(message.reason);
    } else {
      sink_died(message.source.id());
    }
  }

 private:
  static reply<void> engine_gone() {
    return make_reply<void>(error{errc::unavailable, "the engine ended before it answered", 1000});
  }

  reply<engine::unit_report> no_training() const {
    return make_reply<engine::unit_report>(
        error{errc::unavailable, "the engine of " + deps_.name + " is starting again", 1000});
  }

  void answer_job(std::uint64_t id, const reply<engine::unit_report>& r) {
    const auto at = state_.training.find(id);
    if (at == state_.training.end()) return;  // answered when the engine died
    at->second.deliver(r);
    state_.training.erase(at);
  }

  void start_engine() {
    auto made = make_engine_(replica_actor(self_));
    if (!made) {
      self_->send(deps_.telemetry, event_message(schema::EventLevel::ERROR, deps_.name,
                                                 "engine_failed", made.failure().message));
      state_.engine_failed_ms = now_ms(self_);
      for (const auto& h : std::exchange(state_.waiting, {}))
        send_back(h, "no engine of " + deps_.name + " can be made");
      return;
    }
    state_.engine = *made;
    self_->monitor(state_.engine);
    for (const auto& [id, weights] : state_.versions) {
      caf::anon_send(state_.engine, load_atom::value, id, weights);
    }
  }

  /// One that could not be made is tried again, at most once in engine_retry_ms, as it is needed.
  bool ensure_engine() {
    const double now = now_ms(self_);
    if (!state_.engine && now >= state_.engine_failed_ms + engine_retry_ms) start_engine();
    return static_cast<bool>(state_.engine);
  }

  void engine_died(const caf::error& why) {
    state_.engine = nullptr;
    deps_.counts->restarted();
    const auto text = "engine of " + deps_.name + " ended: " + to_string(why);
    self_->send(deps_.telemetry,
                event_message(schema::EventLevel::ERROR, deps_.name, "engine_restarted", text));
    // A sink that was accepted already treats this as the end of a broken answer; one that was not
    // may go elsewhere.
    for (const auto& [id, h] : state_.in_engine) {
      self_->demonitor(h.sink.address());
      self_->send(h.sink,
                  reject_message(h.request.read()->getId(), {errc::unavailable, text, 1000}));
    }
    state_.in_engine.clear();
    state_.choices_in_engine = 0;
    for (auto& [id, promise] : std::exchange(state_.training, {})) promise.deliver(no_training());
    start_engine();
    pump();
  }

  /// Those that wait for a version that leaves: nothing was accepted, so they may be routed again.
  void send_back(const version_id& v) {
    std::erase_if(state_.waiting, [&](const replica_state::held& h) {
      if (h.version != v) return false;
      send_back(h, to_string(v) + " is leaving " + deps_.name);
      return true;
    });
  }

  void send_back(const replica_state::held& h, const std::string& why) {
    self_->demonitor(h.sink.address());
    refuse(*h.request.read(), h.sink, {errc::unavailable, why, 1000});
  }

  void sink_died(caf::actor_id id) {
    if (drop_waiting(id)) return;
    const auto at = state_.in_engine.find(id);
    if (at == state_.in_engine.end()) return;
    // The engine monitors the sink as well and will say done.
  }

  bool drop_waiting(caf::actor_id id) {
    const auto at = std::find_if(state_.waiting.begin(), state_.waiting.end(),
                                 [&](const auto& h) { return h.sink.id() == id; });
    if (at == state_.waiting.end()) return false;
    state_.waiting.erase(at);
    return true;
  }

  void refuse(const schema::Request::Reader& r, const sink_actor& sink, const error& why) {
    self_->send(sink, reject_message(r.getId(), why));
  }

  /// Once an engine: the metric counts the others.
  void tell_long_units(const replica_report& r) {
    if (r.training.long_units == 0 || (state_.last && state_.last->training.long_units > 0)) return;
    const auto text = "a training unit at " + deps_.name + " is predicted to take up to " +
                      std::to_string(std::lround(r.training.longest_bound_ms)) +
                      " ms, which is above maxUnit: smaller units or more threads would be right";
    self_->send(deps_.telemetry,
                event_message(schema::EventLevel::WARNING, deps_.name, "unit_too_long", text));
  }

  std::string told(const coordinator::admission_decision& d) const {
    const auto ms = [](double x) { return std::to_string(static_cast<int>(x)) + " ms"; };
    switch (d.why) {
      case coordinator::refusal::crowded:
        return "a token predicted every " + ms(d.predicted_tpot_ms) +
               " without time for prompts, let in up to " + ms(d.tpot_most_ms) +
               ", promised every " + ms(deps_.promises.tpot_ms);
      case coordinator::refusal::memory:
        return "the KV cache is full";
      case coordinator::refusal::queue:
        return "the queue is full";
      default:
        return "first token predicted after " + ms(d.predicted_ttft_ms) + ", promised within " +
               ms(deps_.promises.ttft_ms);
    }
  }

  /// When who is turned away may come back, ms: its turn in its tenant's line, where each takes the
  /// engine's time that others do not claim, and that does not fill the replica again.
  std::uint32_t turn_of(const replica_state::held& h, std::uint64_t question,
                        coordinator::return_line& line,
                        const std::vector<coordinator::tenant_times::claim>& claims,
                        const coordinator::admission_decision& decision) const {
    const double others = coordinator::share_later(claims, line.wait_ms(h.since_ms));
    const double gap_ms = cost_ms(h) / (returns_share * (1 - others));
    if (gap_ms <= 0) return decision.retry_after_ms;
    return line.join(question, {double(h.prompt_tokens), double(h.choices)}, h.since_ms, gap_ms,
                     retry_after_ms_min, retry_after_ms_max);
  }

  /// The same for a client that asks again.
  static std::uint64_t question_of(const schema::Request::Reader& r) {
    std::uint64_t hash = r.getMaxTokens();
    for (const auto token : r.getPrompt()) hash = (hash ^ token) * 0x100000001b3ull;  // FNV-1a
    return hash;
  }

  double expected_output(const replica_state::held& h) const {
    const double most = h.max_tokens;
    return state_.output_tokens > 0 ? std::min(state_.output_tokens, most) : most;
  }

  /// Engine time that it will take, by the engine's own model.
  double cost_ms(const replica_state::held& h) const {
    if (!state_.last) return 0;
    return coordinator::engine_time_ms(state_.last->costs, h.prompt_tokens,
                                       h.choices * expected_output(h), deps_.promises.tpot_ms);
  }

  /// What an answer says and how many end a second, from what the engine counted since its report
  /// before. An idle slot teaches nothing.
  void learn_ends(const replica_report& now, double seconds) {
    if (!state_.last || now.ended_choices < state_.last->ended_choices) return;
    const auto ended = static_cast<double>(now.ended_choices - state_.last->ended_choices);
    if (ended == 0 && now.running == 0) return;
    state_.ended_per_s += 0.3 * (ended / seconds - state_.ended_per_s);
    if (ended == 0) return;
    const double said =
        static_cast<double>(now.generated_tokens - state_.last->generated_tokens) / ended;
    state_.output_tokens += (state_.output_tokens > 0 ? 0.1 : 1.0) * (said - state_.output_tokens);
  }

  /// Whether it is let in and those that it must not keep out still are, behind it: of its own
  /// tenant who were told to come back, unless it is one of them; and tenants that had less, of
  /// whose prompts a long one must still find room.
  coordinator::admission_decision decide(
      const replica_state::held& asks, bool in_turn, coordinator::return_line& line,
      const std::vector<coordinator::tenant_times::claim>& claims) const {
    const double share = coordinator::share_of(claims);
    const double jitter = coordinator::hash01(asks.request.read()->getId());
    const auto judge = [&](const coordinator::replica_load& load, std::uint32_t prompt_tokens) {
      return coordinator::admit(load, prompt_tokens, deps_.promises, deps_.queued_max, jitter);
    };
    const bool goes_first = claims.empty() && state_.times.goes_first(asks.tenant, asks.since_ms);
    const bool modest = !claims.empty() && state_.times.asks_for_all(asks.tenant, asks.since_ms);
    const auto of_its_tenant = [&](coordinator::replica_load load) {
      load.goes_first = goes_first;
      load.claimed = share;
      if (modest) load.fills = modest_share;
      return load;
    };
    const auto load = load_with(asks, {}, nullptr);
    auto decision = judge(of_its_tenant(load), asks.prompt_tokens);
    const auto kept = in_turn ? coordinator::return_line::room()
                              : line.kept(asks.since_ms, deps_.promises.ttft_ms);
    if (decision.admit && kept.choices > 0) {
      const double each = kept.prompt_tokens / std::max(1.0, kept.choices);
      const auto last = like(asks, asks.tenant, each);
      const coordinator::return_line::room others{kept.prompt_tokens - each, kept.choices - 1};
      decision = judge(of_its_tenant(load_with(last, others, &asks)), last.prompt_tokens);
    }
    for (const auto& c : claims) {
      if (!decision.admit) break;
      const auto other = like(asks, c.tenant, c.prompt_tokens);
      const double more = coordinator::choices_kept(share, load.sequences);
      decision = judge(load_with(other, {0, more}, &asks), other.prompt_tokens);
    }
    return decision;
  }

  /// One answer to another prompt, asked at the same time.
  static replica_state::held like(const replica_state::held& asks, const std::string& tenant,
                                  double prompt_tokens) {
    auto other = asks;
    other.tenant = tenant;
    other.choices = 1;
    other.prompt_tokens = static_cast<std::uint32_t>(prompt_tokens);
    return other;
  }

  /// The load with the request that asks and with `kept` as if it were here before it; `other`, if
  /// any, as well.
  coordinator::replica_load load_with(const replica_state::held& asks,
                                      coordinator::return_line::room kept,
                                      const replica_state::held* other) const {
    const double now = asks.since_ms;
    coordinator::replica_load l;
    l.queued = static_cast<std::uint32_t>(state_.waiting.size());
    // Of what the engine reported a second ago at most, what is left; the prompts held here, and
    // those handed over since.
    coordinator::prefill_state engine;
    if (state_.last) engine = state_.last->prefill.after(now - state_.last_report_ms);
    auto& backlog = engine.backlog_of;
    const auto add = [&](const replica_state::held& h) {
      backlog[h.tenant].add_choices(h.prompt_tokens, 0, h.choices);
    };
    for (const auto& w : state_.waiting) {
      add(w);
      occupy(l, w, w.choices);
    }
    for (const auto& [id, h] : state_.in_engine) {
      if (h.handed_ms > state_.last_report_ms) add(h);
      occupy(l, h, h.choices);
    }
    if (other) {
      add(*other);
      occupy(l, *other, other->choices);
    }
    l.sequences = static_cast<std::uint32_t>(l.decodes.decodes);
    l.ahead = coordinator::prompts_ahead(asks.tenant, backlog, state_.times, now);
    if (kept.prompt_tokens > 0)
      l.ahead.add({.tokens = kept.prompt_tokens,
                   .pairs = kept.prompt_tokens * kept.prompt_tokens / 2 / kept.choices,
                   .prompts = kept.choices});
    occupy(l, asks, asks.choices + kept.choices);
    if (!state_.last) return l;
    l.iteration_ms = state_.last->step_ms_mean;
    l.slack_ms = engine.slack_ms;
    l.admitted_tokens_per_s = state_.admitted_per_s;
    l.finished_per_s = state_.ended_per_s;
    if (state_.last->prompt_tokens == 0) return l;
    l.costs = state_.last->costs;
    l.kv_tokens_max = static_cast<double>(state_.last->kv_total) * state_.last->block_tokens;
    l.prefill_tokens_per_ms = coordinator::sustained_prefill_per_ms(
        l.costs, {}, coordinator::prompt_features(asks.prompt_tokens),
        deps_.promises.step_most_ms());
    return l;
  }

  /// Adds what a request takes of each step and of the cache while it decodes.
  void occupy(coordinator::replica_load& l, const replica_state::held& h, double choices) const {
    const double output = expected_output(h);
    l.decodes.decodes += choices;
    l.decodes.decode_context += choices * (h.prompt_tokens + output / 2);
    l.kv_tokens += choices / h.choices * h.prompt_tokens + choices * output;
  }

  /// Batch gives way to interactive ones for half of its TTFT promise; then the tenant that was
  /// given least; then the one that waits for longest.
  std::deque<replica_state::held>::iterator next_turn() {
    const double now = now_ms(self_);
    const auto gives_way = [&](const replica_state::held& h) {
      return !h.interactive && now < h.since_ms + deps_.promises.ttft_ms / 2;
    };
    return std::min_element(
        state_.waiting.begin(), state_.waiting.end(), [&](const auto& a, const auto& b) {
          if (gives_way(a) != gives_way(b)) return gives_way(b);
          return state_.times.turn(a.tenant, now) < state_.times.turn(b.tenant, now);
        });
  }

  void pump() {
    while (state_.engine && !state_.waiting.empty()) {
      const auto at = next_turn();
      auto& next = *at;
      const bool fits = state_.choices_in_engine == 0 ||
                        state_.choices_in_engine + next.choices <= deps_.running_max;
      if (!fits) return;
      state_.choices_in_engine += next.choices;
      next.handed_ms = now_ms(self_);
      self_->send(state_.engine, next.request, next.version, next.sink);
      const auto id = next.sink.id();
      state_.times.give(next.tenant, cost_ms(next), next.handed_ms);
      state_.in_engine.emplace(id, std::move(next));
      state_.waiting.erase(at);
    }
  }

  self_ptr self_;
  replica_state& state_;
  replica_deps deps_;
  engine_maker make_engine_;
};

}  // namespace

replica_actor::behavior_type replica_behavior(self_ptr self, replica_deps deps,
                                              engine_maker make_engine) {
  auto counts = deps.counts;
  watch(self, counts);
  auto d = std::make_shared<desk>(self, std::move(deps), std::move(make_engine));
  self->set_down_handler([d](caf::scheduled_actor*, caf::down_msg& m) { d->down(m); });
  const auto m = metered(self, counts);
  return {
      m([d](const msg<schema::Request>& r, const version_id& v, const sink_actor& s) {
        d->admit(r, v, s);
      }),
      m([d](cancel_atom, request_id id, const sink_actor& s) { d->cancel(id, s); }),
      m([d](done_atom, request_id, const sink_actor& s) { d->done(s); }),
      m([d](const replica_report_ptr& r) { d->report(r); }),
      m([d](load_atom, const version_id& v, const engine::adapter_ptr& w) {
        return d->load_version(v, w);
      }),
      m([d](unload_atom, const version_id& v) { return d->unload_version(v); }),
      m([counts](status_atom) { return counts->status(); }),
      m([d](train_atom, const training_job_ptr& job) { return d->train(job); }),
      m([d](grant_atom, double share, bool in_round) { d->grant(share, in_round); }),
      m([d](drain_atom, const std::string& why) { d->end_all(why); }),
  };
}

}  // namespace collm::actors
