// An actor system on virtual time: production actors run one after the other on this thread, timers
// fire in order, nothing sleeps. Actors that are detached in production are spawned plainly here.
#pragma once

#include <caf/scheduler/test_coordinator.hpp>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "actors/caf.hpp"
#include "messages/assert.hpp"

namespace collm::testing_support {

/// Chooses whose turn it is among actors that have a message, and hears of every turn.
class conductor {
 public:
  virtual ~conductor() = default;
  /// Place in `ready` of the actor that handles its next message; nullopt: none of them may.
  virtual std::optional<std::size_t> next(const std::deque<caf::resumable*>& ready) = 0;
  virtual void before(caf::scheduled_actor& actor) = 0;
  /// The actor may be gone.
  virtual void after() = 0;
};

class virtual_system {
 public:
  virtual_system() {
    config_.set("scheduler.policy", caf::atom("testing"));
    system_ = std::make_unique<caf::actor_system>(config_);
    scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
    COLLM_ASSERT(scheduler_ != nullptr);
  }
  ~virtual_system() {
    conductor_ = nullptr;
    for (auto& a : kept_) caf::anon_send_exit(a, caf::exit_reason::kill);
    kept_.clear();
    scheduler_->run();
    scheduler_->clock().cancel_all();
  }
  virtual_system(const virtual_system&) = delete;
  virtual_system& operator=(const virtual_system&) = delete;

  caf::actor_system& get() { return *system_; }
  /// Ends `actor` with this object.
  template <class Handle>
  Handle keep(Handle actor) {
    kept_.push_back(caf::actor_cast<caf::actor>(actor));
    return actor;
  }
  /// Turns go as `c` says, not first in, first out; null: as before. `c` outlives its turns.
  void conduct(conductor* c) { conductor_ = c; }
  /// Delivers all messages, but no timer.
  void settle() {
    if (!conductor_) {
      scheduler_->run();
      return;
    }
    while (take_turn()) {
    }
  }
  /// Delivers what these actors still have, and nobody else's messages.
  void settle_only(const std::set<caf::actor_id>& those) {
    scheduler_->run_jobs_filtered([&](caf::resumable* job) {
      const auto* actor = dynamic_cast<caf::scheduled_actor*>(job);
      return actor != nullptr && those.contains(actor->id());
    });
  }
  /// Lets virtual time pass, timer by timer. What is due at one time is due together: a conductor
  /// chooses what comes first.
  void pass(std::chrono::milliseconds time) {
    auto& clock = scheduler_->clock();
    const auto end = clock.now() + time;
    settle();
    while (!clock.schedule().empty() && clock.schedule().begin()->first <= end) {
      const auto due = clock.schedule().begin()->first;
      do {
        clock.trigger_timeout();
      } while (conductor_ && !clock.schedule().empty() && clock.schedule().begin()->first <= due);
      settle();
    }
    if (clock.current_time < end) clock.current_time = end;
  }

  std::chrono::steady_clock::time_point now() const { return scheduler_->clock().now(); }
  /// Inside a handler: it computes for so long, and nobody else gets a turn meanwhile.
  void compute(std::chrono::microseconds time) { scheduler_->clock().current_time += time; }

  /// Asks and returns the answer; the asked actor must answer without a timer.
  template <class Answer, class Target, class... Question>
  Answer ask(const Target& target, Question... question) {
    caf::scoped_actor self(*system_);
    Answer out{};
    auto handle = self->request(target, caf::infinite, question...);
    settle();
    handle.receive([&](const Answer& a) { out = a; },
                   [](const caf::error&) { COLLM_ASSERT(false); });
    return out;
  }

 private:
  bool take_turn() {
    auto& ready = scheduler_->jobs;
    if (ready.empty()) return false;
    const auto chosen = conductor_->next(ready);
    if (!chosen) return false;
    const auto at = ready.begin() + static_cast<std::ptrdiff_t>(*chosen);
    std::rotate(ready.begin(), at, at + 1);
    conductor_->before(scheduler_->next_job<caf::scheduled_actor>());
    scheduler_->run_once();
    conductor_->after();
    return true;
  }

  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  std::vector<caf::actor> kept_;
  conductor* conductor_ = nullptr;
};

}  // namespace collm::testing_support
