// Counters of one actor: written by the actor, read by telemetry. Any thread (atomic).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "actors/interfaces.hpp"

namespace collm::actors {

class meter {
 public:
  meter(std::string name, std::string id) : name_(std::move(name)), id_(std::move(id)) {}
  const std::string& name() const { return name_; }
  const std::string& id() const { return id_; }

  void handled(std::chrono::nanoseconds took, std::size_t mailbox) {
    processed_.fetch_add(1, std::memory_order_relaxed);
    busy_ns_.fetch_add(static_cast<std::uint64_t>(took.count()), std::memory_order_relaxed);
    mailbox_.store(static_cast<std::uint32_t>(mailbox), std::memory_order_relaxed);
    auto slowest = slowest_ns_.load(std::memory_order_relaxed);
    const auto mine = static_cast<std::uint64_t>(took.count());
    while (mine > slowest && !slowest_ns_.compare_exchange_weak(slowest, mine)) {
    }
  }
  void failed() { failures_.fetch_add(1, std::memory_order_relaxed); }
  void surprised() { unexpected_.fetch_add(1, std::memory_order_relaxed); }
  void restarted() { restarts_.fetch_add(1, std::memory_order_relaxed); }

  std::uint64_t processed() const { return processed_.load(std::memory_order_relaxed); }
  std::uint64_t busy_ns() const { return busy_ns_.load(std::memory_order_relaxed); }
  std::uint32_t mailbox() const { return mailbox_.load(std::memory_order_relaxed); }
  std::uint32_t failures() const { return failures_.load(std::memory_order_relaxed); }
  std::uint32_t unexpected() const { return unexpected_.load(std::memory_order_relaxed); }
  std::uint32_t restarts() const { return restarts_.load(std::memory_order_relaxed); }
  /// Longest handler since the last call, ms.
  float take_slowest_ms() { return static_cast<float>(slowest_ns_.exchange(0)) / 1e6f; }

  msg<schema::ActorStatus> status() const {
    return msg<schema::ActorStatus>::build([&](schema::ActorStatus::Builder b) { write(b); });
  }
  void write(schema::ActorStatus::Builder b) const {
    b.setName(name_);
    b.setId(id_);
    b.setMailbox(mailbox());
    b.setProcessed(static_cast<double>(processed()));
    b.setFailures(failures());
    b.setUnexpected(unexpected());
    b.setRestarts(restarts());
  }

 private:
  const std::string name_, id_;
  std::atomic<std::uint64_t> processed_{0}, busy_ns_{0}, slowest_ns_{0};
  std::atomic<std::uint32_t> mailbox_{0}, failures_{0}, unexpected_{0}, restarts_{0};
};
using meter_ptr = std::shared_ptr<meter>;

/// All meters of a process. Short-lived actors (bridges) share one.
class meter_board {
 public:
  meter_ptr make(std::string name, std::string id) {
    auto m = std::make_shared<meter>(std::move(name), std::move(id));
    const std::lock_guard lock(mutex_);
    meters_.push_back(m);
    return m;
  }
  std::vector<meter_ptr> all() const {
    const std::lock_guard lock(mutex_);
    return meters_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<meter_ptr> meters_;
};
using meter_board_ptr = std::shared_ptr<meter_board>;

/// Times one handler call.
template <class Self>
class metered_call {
 public:
  metered_call(Self* self, meter& m)
      : self_(self), meter_(m), begun_(std::chrono::steady_clock::now()) {}
  ~metered_call() {
    meter_.handled(std::chrono::steady_clock::now() - begun_, self_->mailbox().size());
  }
  metered_call(const metered_call&) = delete;
  metered_call& operator=(const metered_call&) = delete;

 private:
  Self* self_;
  meter& meter_;
  std::chrono::steady_clock::time_point begun_;
};

/// A handler that is timed; keeps the exact signature, which CAF's typed behaviors are checked by.
template <class Self, class F, class Signature = decltype(&F::operator())>
struct metered_handler;
template <class Self, class F, class R, class C, class... As>
struct metered_handler<Self, F, R (C::*)(As...) const> {
  Self* self;
  meter_ptr counts;
  F handler;
  R operator()(As... as) const {
    const metered_call<Self> call(self, *counts);
    return handler(as...);
  }
};

/// metered(self, meter) (lambda)...: wraps each lambda of a behavior.
template <class Self>
auto metered(Self* self, meter_ptr counts) {
  return [self, counts](auto handler) {
    return metered_handler<Self, decltype(handler)>{self, counts, std::move(handler)};
  };
}

/// Sets the handlers that every actor of ours has: unexpected messages, errors and exceptions are
/// counted, never only printed. An exception is our bug (it passed a wall): the actor ends with an
/// error and its owner starts it again.
template <class Self>
void watch(Self* self, const meter_ptr& counts) {
  self->set_default_handler(
      [counts](caf::scheduled_actor*, caf::message_view&) -> caf::result<caf::message> {
        counts->surprised();
        return caf::make_error(caf::sec::unexpected_message);
      });
  self->set_error_handler([counts](caf::scheduled_actor* a, caf::error& e) {
    counts->failed();
    a->quit(std::move(e));
  });
  self->set_exception_handler([counts](caf::scheduled_actor*, std::exception_ptr&) -> caf::error {
    counts->failed();
    return caf::make_error(caf::sec::runtime_error, "an exception passed a wall");
  });
}

/// Milliseconds on the actor system's clock, which simulations replace.
template <class Self>
double now_ms(Self* self) {
  return std::chrono::duration<double, std::milli>(self->clock().now().time_since_epoch()).count();
}

}  // namespace collm::actors
