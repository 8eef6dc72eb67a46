#include "deploy/co_run_rig.hpp"

#include <algorithm>

#include "actors/engine.hpp"
#include "actors/replica.hpp"
#include "deploy/manifest.hpp"
#include "deploy/unit_probe.hpp"

namespace collm::deploy {
namespace {

using namespace actors;
using clock = co_run_rig::clock;

double ms(clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

constexpr const char* rig_replica = "bench/0";
constexpr double unit_max_ms = training_spec{}.max_unit_ms;  // the manifest's maxUnit, left out
constexpr std::uint32_t step_rows = 512;
constexpr std::uint64_t kv_bytes = 128ull << 20;
const std::vector<std::string> all_targets = {"q", "k", "v", "o", "gate", "up", "down"};

/// Ends with its request.
sink_actor::behavior_type sink_behavior(sink_actor::pointer self,
                                        std::shared_ptr<co_run_rig::answer> to) {
  const auto end = [self, to](bool refused) {
    to->refused = refused;
    to->ended.store(true, std::memory_order_release);
    self->quit();
  };
  return {[](const msg<schema::Accepted>&) {},
          [to](const msg<schema::TokenChunk>& m) {
            to->last = clock::now();
            if (to->tokens == 0) to->first = to->last;
            to->tokens += m.read()->getTokens().size();
          },
          [end](const msg<schema::Finish>& m) {
            const auto why = m.read()->getReason();
            end(why != schema::FinishReason::LENGTH && why != schema::FinishReason::STOP);
          },
          [end](const msg<schema::Reject>&) { end(true); }};
}

}  // namespace

double co_run_rig::answer::ttft_ms() const { return ms(first - due); }

double co_run_rig::answer::tpot_ms() const {
  return tokens < 2 ? 0 : ms(last - first) / (tokens - 1);
}

result<std::unique_ptr<co_run_rig>> co_run_rig::make(const engine::base_ptr& base,
                                                     const options& o) {
  auto parent = engine::initial_adapter(*base, 8, 16, all_targets, 1);
  if (!parent) return parent.failure();
  engine::training_options how;
  how.sample_tokens = o.sample_tokens;
  how.batch_tokens = o.batch_tokens;
  how.threads = o.threads;
  const auto units = probe_unit_sizes(base, *parent, how, unit_max_ms);
  if (!units) return units.failure();
  how.window_tokens = units->window_tokens;
  how.head_tokens = units->head_tokens;
  auto trainer = engine::make_trainer(base, *parent, how);
  if (!trainer) return trainer.failure();
  std::unique_ptr<co_run_rig> rig(new co_run_rig(base->shape().vocab));
  rig->units_ = *units;
  rig->spawn_telemetry();
  rig->spawn_replica(base, o);
  rig->spawn_feeder(std::move(*trainer), o);
  return rig;
}

co_run_rig::~co_run_rig() {
  end_actor(feeder_);
  end_actor(replica_);  // its engine ends with it
  end_actor(telemetry_);
}

void co_run_rig::spawn_telemetry() {
  const auto take = [seen = seen_](const replica_report& r) {
    const std::lock_guard lock(seen->mutex);
    const auto steps = r.steps - seen->steps;
    seen->steps = r.steps;
    seen->slots.push_back({clock::now(), static_cast<double>(steps) * r.step_ms_mean,
                           r.training.unit_ms, r.training});
  };
  const auto note = [seen = seen_](const schema::Event::Reader& e) {
    if (e.getLevel() != schema::EventLevel::ERROR) return;
    const std::lock_guard lock(seen->mutex);
    seen->fault = e.getMessage().cStr();
  };
  const auto empty = [] { return msg<schema::Snapshot>::build([](auto) {}); };
  telemetry_ = system_.get().spawn([=]() -> telemetry_actor::behavior_type {
    return {[](const request_began&) {},
            [](const request_outcome&) {},
            [take](const replica_report_ptr& r) { take(*r); },
            [](const msg<schema::VersionRecord>&) {},
            [note](const msg<schema::Event>& e) { note(*e.read()); },
            [](slot_atom) {},
            [empty](list_atom) { return empty(); },
            [](events_atom, std::uint32_t) { return std::vector<msg<schema::Event>>(); },
            [](metrics_atom) { return std::string(); },
            [](status_atom) { return msg<schema::ActorStatus>::build([](auto) {}); }};
  });
}

void co_run_rig::spawn_replica(const engine::base_ptr& base, const options& o) {
  const engine::executor_options engine_options{
      .kv_bytes = kv_bytes, .threads = o.threads, .step_tokens_max = step_rows};
  const replica_deps deps{.name = rig_replica,
                          .promises = o.promises,
                          .counts = std::make_shared<meter>("replica", rig_replica),
                          .routers = {},
                          .telemetry = telemetry_};
  replica_ = system_.get().spawn(
      replica_behavior, deps,
      [base, engine_options, o,
       &system = system_.get()](const replica_actor& owner) -> result<engine_actor> {
        auto steps = engine::make_executor(base, engine_options);
        if (!steps) return steps.failure();
        return engine_actor(system.spawn<caf::detached>(
            engine_behavior,
            engine_deps{.name = rig_replica,
                        .steps = std::move(*steps),
                        .promises = o.promises,
                        .step_tokens_max = step_rows,
                        .unit_max_ms = unit_max_ms,
                        .counts = std::make_shared<meter>("engine", rig_replica),
                        .beat = std::make_shared<std::atomic<std::int64_t>>(0)},
            owner));
      });
}

std::vector<std::uint32_t> co_run_rig::tokens_of(std::uint64_t salt, std::uint32_t count) const {
  // Any tokens do: the time does not depend on them. Away from control tokens at the front.
  const std::uint64_t front = std::min(64u, vocabulary_ / 2);
  std::vector<std::uint32_t> out(count);
  for (std::uint32_t i = 0; i < count; ++i)
    out[i] =
        static_cast<std::uint32_t>(front + (salt * 7919 + i * 104729ull) % (vocabulary_ - front));
  return out;
}

/// A job is one batch; the next is asked for with each answer, as a shadow does in a round.
void co_run_rig::spawn_feeder(std::shared_ptr<engine::trainer> trainer, const options& o) {
  std::vector<engine::training_sample> batch(o.batch_tokens / o.sample_tokens);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const auto tokens = tokens_of(1000 + i, o.sample_tokens);
    batch[i].tokens.assign(tokens.begin(), tokens.end());
    batch[i].prompt_tokens = o.sample_tokens / 2;
  }
  const auto job = std::make_shared<const training_job>(training_job{
      std::move(trainer), [batch](engine::trainer& t) { return t.begin_batch(batch); }});
  feeder_ = system_.get().spawn([job, replica = replica_, trained = trained_,
                                 seen = seen_](caf::event_based_actor* self) -> caf::behavior {
    const auto fail = [seen](const std::string& why) {
      const std::lock_guard lock(seen->mutex);
      seen->fault = why;
    };
    self->send(self, train_atom::value);
    return {[=](train_atom) {
      self->request(replica, caf::infinite, train_atom::value, training_job_ptr(job))
          .then(
              [=](const reply<engine::unit_report>& r) {
                if (!*r || !(*r)->batch) return fail(*r ? "no batch" : r->failure().message);
                trained->fetch_add((*r)->batch->tokens);
                self->send(self, train_atom::value);
              },
              [=](const caf::error&) { fail("the replica ended"); });
    }};
  });
}

co_run_rig::pending co_run_rig::send(const request& r) {
  auto out = std::make_shared<answer>();
  out->due = r.due;
  const auto sink = system_.get().spawn(sink_behavior, out);
  const auto age = std::chrono::duration_cast<std::chrono::microseconds>(clock::now() - r.due);
  const auto tokens = tokens_of(r.salt, r.prompt_tokens);
  auto request = msg<schema::Request>::build([&](schema::Request::Builder b) {
    b.setId(++last_id_);
    auto p = b.initPrompt(r.prompt_tokens);
    for (std::uint32_t i = 0; i < r.prompt_tokens; ++i) p.set(i, tokens[i]);
    b.setMaxTokens(r.answer_tokens);
    b.setIgnoreEos(true);
    b.setCacheSalt(r.salt);
    b.setAgeUs(static_cast<std::uint64_t>(std::max<std::int64_t>(0, age.count())));
  });
  caf::anon_send(replica_, std::move(request), version_id{}, sink_actor(sink));
  return out;
}

void co_run_rig::grant(double share) {
  caf::anon_send(replica_, grant_atom::value, share, share > 0);
}

std::vector<co_run_rig::slot> co_run_rig::slots() const {
  const std::lock_guard lock(seen_->mutex);
  return seen_->slots;
}

std::string co_run_rig::fault() const {
  const std::lock_guard lock(seen_->mutex);
  return seen_->fault;
}

}  // namespace collm::deploy
