// One actor system a process and the small waiting tools that starting and stopping need. Main
// thread only.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "actors/caf.hpp"

namespace collm::deploy {

/// CAF with as many workers as a small machine can give: engines have threads of their own.
class caf_system {
 public:
  caf_system() {
    config_.set("scheduler.max-threads", static_cast<std::size_t>(2));
    system_ = std::make_unique<caf::actor_system>(config_);
  }
  caf::actor_system& get() { return *system_; }

 private:
  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
};

/// True as soon as `done`; false at the deadline. For starting and stopping only: nothing that
/// serves waits like this.
inline bool wait_until(std::chrono::milliseconds at_most, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + at_most;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

/// Asks an actor to end; nothing for an empty handle.
template <class Handle>
void end_actor(const Handle& actor) {
  if (actor)
    caf::anon_send_exit(caf::actor_cast<caf::actor>(actor), caf::exit_reason::user_shutdown);
}

/// Ends the process if an ordered stop takes too long: a hang at exit would keep ports and memory.
class watchdog {
 public:
  explicit watchdog(std::chrono::milliseconds at_most)
      : thread_([this, at_most] {
          std::unique_lock lock(mutex_);
          if (!disarmed_.wait_for(lock, at_most, [this] { return done_; })) _exit(70);
        }) {}
  ~watchdog() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    disarmed_.notify_all();
    thread_.join();
  }
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable disarmed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace collm::deploy
