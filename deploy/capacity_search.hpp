// The largest rate of requests that keeps its promises (ALGORITHMS.md section 1: to 90 % of them).
// Pure: what a rate keeps is the caller's to measure.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "messages/result.hpp"

namespace collm::deploy {

/// What was seen at one rate.
struct capacity_trial {
  double per_s = 0;
  std::uint32_t requests = 0;
  double attainment = 0;  ///< 0 to 1
};

struct capacity_range {
  double floor_per_s = 0, ceiling_per_s = 0;  ///< where to look, 0 < floor < ceiling
  std::uint32_t trials = 5;                   ///< halvings; the floor may be one trial more
  double attainment = 0.9;                    ///< that a rate must keep
};

struct found_capacity {
  double per_s = 0;
  std::vector<capacity_trial> trials;  ///< in the order in which they were made
};

/// Halves the range by its geometric mean, as if attainment fell with the rate, and returns the
/// largest rate that kept it. Where no trial did, the floor is tried as well. No rate within the
/// range is an answer unless one above it was missed and it was kept itself: otherwise conflict,
/// with every trial in its words. An error of `measure` ends the search.
result<found_capacity> find_capacity(const capacity_range& r,
                                     const std::function<result<capacity_trial>(double)>& measure);

}  // namespace collm::deploy
