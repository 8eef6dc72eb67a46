// The weighted sum of updates in 64-bit fixed point: order-free and resumable, so that the same
// accepted updates give the same bytes, whoever came first and whatever was restarted. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "messages/result.hpp"

namespace collm::federation {

/// Largest magnitude of a change: 2^26 steps of 2^-22.
inline constexpr double change_max = 16;

class exact_sum {
 public:
  /// `count` numbers; 8 bytes each, whatever the number of updates.
  explicit exact_sum(std::size_t count) : sums_(count) {}

  /// Counts one update's weight, once, before its values. conflict: the weights of the round would
  /// leave the range in which the sum cannot overflow (2^37, that is 8192 updates of 2^20 tokens).
  result<void> add_weight(std::int64_t weight);
  /// Adds round(value 2^22) * weight from place `offset` on. Every value is finite and at most
  /// change_max: whoever calls has checked the whole update.
  void add(std::size_t offset, std::span<const float> values, std::int64_t weight);

  std::int64_t weights() const { return weights_; }
  std::span<const std::int64_t> sums() const { return sums_; }
  /// S / (2^22 sum of W); 0 while nothing weighs.
  double mean(std::size_t at) const;

 private:
  std::vector<std::int64_t> sums_;
  std::int64_t weights_ = 0;
};

}  // namespace collm::federation
