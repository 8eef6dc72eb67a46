// Many updates into one adapter: the mean of factors, the robust mean, or the stacked product cut
// by SVD. Pure and deterministic: the same set of updates gives the same bytes in any order.
// Memory: the linear modes hold one running sum and one block of numbers; the others hold one
// matrix pair (stack_svd) or one block of numbers (robust) of every update in the cohort.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "federation/shape.hpp"
#include "federation/strategy.hpp"
#include "federation/update.hpp"
#include "messages/result.hpp"

namespace collm::federation {

/// One accepted update: header and values have been checked.
struct summand {
  std::string digest = {};  ///< orders the sums that have an order
  std::int64_t tokens = 0;  ///< n_u
  std::uint32_t staleness = 0;
  adapter_shape shape = {};         ///< the client's; the adapter's but for its ranks
  update_source* values = nullptr;  ///< not owned; stays until the call returns
};

struct aggregate {
  std::vector<float> factors;   ///< of the whole adapter, in the order of places()
  std::vector<double> weights;  ///< w_u in the order of the summands; they add up to 1
  /// Aggregation error: ||sum w B A - B' A'|| / ||sum w B A||, Frobenius, a number per pair, and
  /// over all of them. Empty where the cohort is too large to measure (error_cohort_max).
  std::vector<double> pair_errors;
  std::optional<double> error;
};

/// Pairwise inner products grow with the square of the cohort.
inline constexpr std::size_t error_cohort_max = 16;

/// The adapter that follows from `parent` (all factors, in the order of places()) and the updates.
/// conflict: no update weighs anything, or too few for the robust rule; too_large: more than the
/// mode's cohort; io, corrupt: an update could not be read.
result<aggregate> aggregate_updates(const strategy& s, const adapter_shape& shape,
                                    trained_factors trained, std::span<const float> parent,
                                    std::vector<summand> updates);

}  // namespace collm::federation
