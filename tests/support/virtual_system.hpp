// An actor system on virtual time: production actors run one after the other on this thread, timers
// fire in order, nothing sleeps. Actors that are detached in production are spawned plainly here.
#pragma once

#include <caf/scheduler/test_coordinator.hpp>

#include <chrono>
#include <memory>
#include <vector>

#include "actors/caf.hpp"
#include "messages/assert.hpp"

namespace collm::testing_support {

class virtual_system {
 public:
  virtual_system() {
    config_.set("scheduler.policy", caf::atom("testing"));
    system_ = std::make_unique<caf::actor_system>(config_);
    scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
    COLLM_ASSERT(scheduler_ != nullptr);
  }
  ~virtual_system() {
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
  /// Delivers all messages, but no timer.
  void settle() { scheduler_->run(); }
  /// Lets virtual time pass, timer by timer.
  void pass(std::chrono::milliseconds time) {
    auto& clock = scheduler_->clock();
    const auto end = clock.now() + time;
    settle();
    while (!clock.schedule().empty() && clock.schedule().begin()->first <= end) {
      clock.trigger_timeout();
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
  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  std::vector<caf::actor> kept_;
};

}  // namespace collm::testing_support
