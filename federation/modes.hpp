// The single modes behind aggregate_updates. Inside federation/ only. Summands come in the order of
// their digests; all of them weigh something.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "federation/aggregation.hpp"

namespace collm::federation {

/// fedavg, ffa, rolora: parent + exact weighted mean of the changes, rounded once.
result<std::vector<float>> linear_mean(std::span<const float> parent, const adapter_shape& shape,
                                       trained_factors trained,
                                       const std::vector<summand>& updates);

/// trimmed_mean and median, coordinate by coordinate, unweighted.
result<std::vector<float>> robust_mean(const strategy& s, std::span<const float> parent,
                                       const adapter_shape& shape, trained_factors trained,
                                       const std::vector<summand>& updates);

/// The best product of the adapter's rank for sum w scale B A. weights: as in aggregate.
result<std::vector<float>> stack_svd(std::span<const float> parent, const adapter_shape& shape,
                                     const std::vector<summand>& updates,
                                     const std::vector<double>& weights);

/// Adds to each trained factor of the adapter its change, told by place in the update.
std::vector<float> changed(std::span<const float> parent, const adapter_shape& shape,
                           trained_factors trained,
                           const std::function<double(std::size_t)>& change);

/// The factors of one pair as a client left them: the parent's, and its change of as many first
/// directions as it trains. What it never saw stays, or every round would forget some of it.
struct client_pair {
  std::vector<double> a, b;  ///< [rank, in], [out, rank]
  std::uint32_t rank = 0;
  double scale = 1;
};
result<client_pair> client_factors(std::span<const float> parent, const adapter_shape& shape,
                                   trained_factors trained, const summand& u, std::size_t pair);

/// Squared norms of the true product and of its distance to the new one, per pair.
struct product_error {
  double truth = 0, distance = 0;
};
result<std::vector<product_error>> product_errors(std::span<const float> parent,
                                                  std::span<const float> made,
                                                  const adapter_shape& shape,
                                                  trained_factors trained,
                                                  const std::vector<summand>& updates,
                                                  const std::vector<double>& weights);

}  // namespace collm::federation
