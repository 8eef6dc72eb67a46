// The threads of one forward pass: who computes which part, and where they wait for each other. One
// team a decoder.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <cstdint>
#include <utility>

#include "engine/phase_clock.hpp"

namespace collm::engine {

/// Meets `members` threads. Spins shortly, since a layer's phases last microseconds, then sleeps,
/// since cores may be shared.
class meeting_point {
 public:
  void wait(std::uint32_t members) {
    if (members == 1) return;
    const auto now = phase_.load(std::memory_order_acquire);
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

 private:
  static constexpr int spins = 2000;  // some 30 us: longer than a phase of a batch-1 decode takes
  std::atomic<std::uint32_t> arrived_{0}, phase_{0};
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

}  // namespace collm::engine
