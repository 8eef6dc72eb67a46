#include "federation/exact_sum.hpp"

#include <cmath>
#include <string>

namespace collm::federation {

namespace {
constexpr double steps_per_one = 1 << 22;
// 2^26 steps at most, times so much weight, stays below 2^63.
constexpr std::int64_t weights_max = (std::int64_t{1} << 37) - 1;
}  // namespace

result<void> exact_sum::add_weight(std::int64_t weight) {
  if (weight < 0 || weight > weights_max - weights_)
    return error{errc::conflict,
                 "the updates of this round weigh more than the sum can hold: "
                 "fewer than " +
                     std::to_string(weights_max) + " sixteenths of a token would be right"};
  weights_ += weight;
  return {};
}

void exact_sum::add(std::size_t offset, std::span<const float> values, std::int64_t weight) {
  if (weight == 0) return;
  for (std::size_t i = 0; i < values.size(); ++i)
    sums_[offset + i] += weight * std::llround(values[i] * steps_per_one);
}

double exact_sum::mean(std::size_t at) const {
  if (weights_ == 0) return 0;
  return static_cast<double>(sums_[at]) / (steps_per_one * static_cast<double>(weights_));
}

}  // namespace collm::federation
