// One production engine actor on virtual time, without a node round it: requests and jobs go to it
// directly, also from within a step or a unit, as they do where it has a thread of its own.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "actors/engine.hpp"
#include "tests/support/virtual_system.hpp"

namespace collm::testing_support {

class engine_rig {
 public:
  using clock = std::chrono::steady_clock;
  /// What the sink of one request saw.
  struct seen {
    clock::time_point due, first, last;
    std::vector<std::int32_t> tokens;
    std::vector<float> logprobs;
    std::uint32_t finished = 0;
    schema::FinishReason reason = schema::FinishReason::NONE;
  };
  struct request {
    std::vector<std::int32_t> prompt = {1, 2, 3};
    std::uint32_t answer_tokens = 8;
    version_id version = {};
    std::uint64_t seed = 0;
    std::uint64_t cache_salt = 0;
  };
  using answer = actors::reply<engine::unit_report>;

  explicit engine_rig(std::shared_ptr<engine::executor> steps, coordinator::slo promises = {}) {
    using namespace actors;
    owner_ = system.keep(system.get().spawn([this]() -> replica_actor::behavior_type {
      return {[](const msg<schema::Request>&, const version_id&, const sink_actor&) {},
              [](cancel_atom, request_id, const sink_actor&) {},
              [](done_atom, request_id, const sink_actor&) {},
              [this](const replica_report_ptr& r) { reports.push_back(r); },
              [](load_atom, const version_id&, const engine::adapter_ptr&) -> reply<void> {
                return make_reply<void>(result<void>());
              },
              [](unload_atom, const version_id&) -> reply<void> {
                return make_reply<void>(result<void>());
              },
              [](train_atom, const training_job_ptr&) -> answer {
                return make_reply<engine::unit_report>(engine::unit_report{});
              },
              [](grant_atom, double, bool) {},
              [](drain_atom, const std::string&) {},
              [](status_atom) { return msg<schema::ActorStatus>::build([](auto) {}); }};
    }));
    engine = system.keep(
        system.get().spawn(engine_behavior,
                           engine_deps{.name = "edge-a/0",
                                       .steps = std::move(steps),
                                       .promises = promises,
                                       .counts = std::make_shared<meter>("engine", "edge-a/0"),
                                       .beat = beat,
                                       .modelled_turn = std::chrono::microseconds(1)},
                           owner_));
    system.settle();
  }

  request_id send(const request& r, clock::time_point due) {
    const auto id = next_++;
    auto& s = answers[id];
    s.due = due;
    using namespace actors;
    auto sink = system.keep(system.get().spawn([this, &s]() -> sink_actor::behavior_type {
      return {[](const msg<schema::Accepted>&) {},
              [this, &s](const msg<schema::TokenChunk>& m) { take(s, *m.read()); },
              [&s](const msg<schema::Finish>& m) {
                ++s.finished;
                s.reason = m.read()->getReason();
              },
              [&s](const msg<schema::Reject>&) { ++s.finished; }};
    }));
    const auto age = std::chrono::duration_cast<std::chrono::microseconds>(system.now() - due);
    caf::anon_send(engine, message(id, r, age), r.version, sink);
    return id;
  }
  request_id send(const request& r) { return send(r, system.now()); }

  void grant(double share, bool in_round = true) {
    caf::anon_send(engine, actors::grant_atom::value, share, in_round);
  }
  /// What becomes of the job lands in outcomes[place].
  std::size_t train(std::shared_ptr<engine::trainer> on,
                    std::function<result<void>(engine::trainer&)> begin) {
    outcomes.emplace_back();
    const auto place = outcomes.size() - 1;
    auto job = std::make_shared<const actors::training_job>(
        actors::training_job{std::move(on), std::move(begin)});
    system.get().spawn([this, place, job](caf::event_based_actor* self) {
      self->request(engine, caf::infinite, actors::train_atom::value, job)
          .then([this, place](const answer& a) { outcomes[place] = a; });
    });
    return place;
  }

  /// Job after job, each as soon as the last one was answered.
  void train_on(std::shared_ptr<engine::trainer> on,
                std::function<result<void>(engine::trainer&)> begin) {
    auto job = std::make_shared<const actors::training_job>(
        actors::training_job{std::move(on), std::move(begin)});
    const auto again = std::make_shared<std::function<void(caf::event_based_actor*)>>();
    *again = [this, job, next = std::weak_ptr(again)](caf::event_based_actor* self) {
      self->request(engine, caf::infinite, actors::train_atom::value, job)
          .then([self, next = next.lock()](const answer& a) {
            if (*a) (*next)(self);
          });
    };
    system.keep(system.get().spawn([again](caf::event_based_actor* self) { (*again)(self); }));
  }

  /// Inside a step or unit: time passes, and requests that become due in it arrive in it.
  void compute(std::chrono::microseconds time) {
    const auto end = system.now() + time;
    while (!coming.empty() && coming.front().first <= end) {
      auto [due, r] = std::move(coming.front());
      coming.pop_front();
      if (due > system.now())
        system.compute(std::chrono::duration_cast<std::chrono::microseconds>(due - system.now()));
      send(r, due);
    }
    system.compute(std::chrono::duration_cast<std::chrono::microseconds>(end - system.now()));
  }
  /// Lets time pass; what becomes due between two turns arrives then.
  void pass(std::chrono::milliseconds time) {
    const auto end = system.now() + time;
    while (!coming.empty() && coming.front().first <= end) {
      const auto wait = coming.front().first - system.now();
      if (wait.count() > 0) system.pass(std::chrono::ceil<std::chrono::milliseconds>(wait));
      compute({});
    }
    const auto rest = end - system.now();
    if (rest.count() > 0) system.pass(std::chrono::ceil<std::chrono::milliseconds>(rest));
  }

  const actors::replica_report::training_figures& training() const {
    return reports.back()->training;
  }

  virtual_system system;
  actors::heartbeat beat = std::make_shared<std::atomic<std::int64_t>>(0);
  actors::engine_actor engine;
  std::vector<actors::replica_report_ptr> reports;
  std::map<request_id, seen> answers;
  std::vector<answer> outcomes;                              ///< empty: not answered yet
  std::deque<std::pair<clock::time_point, request>> coming;  ///< by time

 private:
  void take(seen& s, const schema::TokenChunk::Reader& chunk) {
    s.last = system.now();
    if (s.tokens.empty()) s.first = s.last;
    for (auto t : chunk.getTokens()) {
      s.tokens.push_back(static_cast<std::int32_t>(t.getId()));
      s.logprobs.push_back(t.getLogprob());
    }
  }
  static msg<schema::Request> message(request_id id, const request& r,
                                      std::chrono::microseconds age) {
    return msg<schema::Request>::build([&](schema::Request::Builder b) {
      b.setId(id);
      auto p = b.initPrompt(static_cast<std::uint32_t>(r.prompt.size()));
      for (std::uint32_t i = 0; i < r.prompt.size(); ++i)
        p.set(i, static_cast<std::uint32_t>(r.prompt[i]));
      b.setMaxTokens(r.answer_tokens);
      b.setIgnoreEos(true);
      b.setCacheSalt(r.cache_salt);
      b.setAgeUs(static_cast<std::uint64_t>(age.count()));
      b.getSampling().setSeed(r.seed);
      b.getSampling().setLogprobs(0);
    });
  }
  actors::replica_actor owner_;
  request_id next_ = 1;
};

}  // namespace collm::testing_support
