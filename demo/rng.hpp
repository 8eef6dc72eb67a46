// Seeded integer randomness with the same numbers on every machine: the standard library's
// distributions are not portable. A value; any thread, one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace collm::demo {

/// SplitMix64 (Steele, Lea, Flood 2014): one 64-bit state, passes BigCrush, no warm-up.
class rng {
 public:
  explicit rng(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  /// Uniform in [0, count); count > 0 and below 2^32.
  std::uint32_t below(std::uint32_t count) {
    return static_cast<std::uint32_t>(((next() >> 32) * count) >> 32);
  }

  /// True in `percent` of 100 draws.
  bool chance(std::uint32_t percent) { return below(100) < percent; }

  template <class T, std::size_t N>
  const T& pick(const T (&items)[N]) {
    return items[below(N)];
  }
  template <class T>
  const T& pick(std::span<const T> items) {
    return items[below(static_cast<std::uint32_t>(items.size()))];
  }

 private:
  std::uint64_t state_;
};

}  // namespace collm::demo
