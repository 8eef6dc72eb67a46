// The threads of one forward pass: who computes which part, and where they wait for each other. One
// team a decoder.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <utility>

#include "engine/phase_clock.hpp"

namespace collm::engine {

/// Meets `members` threads. Spins shortly, since a layer's phases last microseconds, then sleeps,
/// since cores may be shared. Once one of them has left for good, nobody waits for it: who does is
/// thrown out.
class meeting_point {
 public:
  struct left {};

  void wait(std::uint32_t members) {
    if (members == 1) return;
    meet(members);
    if (left_.load(std::memory_order_acquire)) throw left{};
  }
  /// A member ends with what it threw; the first one's stays.
  void leave(std::exception_ptr why) {
    if (left_.exchange(true, std::memory_order_acq_rel)) return;
    why_ = std::move(why);
    phase_.fetch_add(1, std::memory_order_release);
    phase_.notify_all();
  }
  /// After all have ended: throws what the first that left threw, and is as new.
  void rethrow() {
    if (!left_.exchange(false)) return;
    arrived_ = 0;
    std::rethrow_exception(std::exchange(why_, nullptr));
  }

 private:
  void meet(std::uint32_t members) {
    const auto now = phase_.load(std::memory_order_acquire);
    if (left_.load(std::memory_order_acquire)) return;
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(now + 1, std::memory_order_release);
      phase_.notify_all();
      return;
    }
    for (int i = 0; i < spins; ++i) {
      if (phase_.load(std::memory_order_acquire) != now) return;
      _mm_pause();
    }
    phase_.wait(now, std::memory_order_acquire);
  }

  static constexpr int spins = 2000;  // some 30 us: longer than a phase of a batch-1 decode takes
  std::atomic<std::uint32_t> arrived_{0}, phase_{0};
  std::atomic<bool> left_{false};
  std::exception_ptr why_;
};

/// One thread of the team.
struct member {
  std::uint32_t index = 0, members = 1;
  meeting_point* point = nullptr;
  phase_clock* clock = nullptr;  ///< of the last member, where a step is watched

  void meet() const {
    point->wait(members);
    mark(phase::waiting);
  }
  /// What this member did since its last mark.
  void mark(phase p) const {
    if (clock != nullptr) clock->mark(p);
  }
  /// This member's part of [0, count), in steps of `grain`.
  std::pair<std::uint32_t, std::uint32_t> part(std::uint32_t count, std::uint32_t grain) const {
    const std::uint64_t pieces = (std::uint64_t{count} + grain - 1) / grain;
    const auto cut = [&](std::uint64_t i) {
      const std::uint64_t at = pieces * i / members * grain;
      return static_cast<std::uint32_t>(at < count ? at : count);
    };
    return {cut(index), cut(index + std::uint64_t{1})};
  }
};

/// Runs `work` on `threads` OpenMP threads that meet at `point`, and ends when all of them have.
/// Throws what the first of them threw: an exception must not leave an OpenMP region by itself.
void run_team(std::uint32_t threads, meeting_point& point,
              const std::function<void(const member&)>& work);

}  // namespace collm::engine
