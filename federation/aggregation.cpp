#include "federation/aggregation.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "federation/modes.hpp"

namespace collm::federation {

namespace {

result<void> check_cohort(const strategy& s, const adapter_shape& shape, trained_factors trained,
                          std::span<const float> parent, const std::vector<summand>& updates) {
  if (parent.size() != shape.count())
    return error{errc::internal, "the parent holds " + std::to_string(parent.size()) +
                                     " factors, its shape " + std::to_string(shape.count())};
  const std::size_t most = s.linear() ? updates_max : cohort_max;
  if (updates.size() > most)
    return error{errc::too_large, std::to_string(updates.size()) + " updates in one round; " +
                                      std::string(to_string(s.aggregate)) + " takes " +
                                      std::to_string(most)};
  for (const auto& u : updates) {
    const auto right = u.shape.count(trained);
    if (u.values->count() == right && u.shape.pairs.size() == shape.pairs.size()) continue;
    return error{errc::corrupt, "update " + u.digest.substr(0, 12) + " holds " +
                                    std::to_string(u.values->count()) + " values, not " +
                                    std::to_string(right)};
  }
  return {};
}

/// Robust rules are unweighted: each update that holds tokens counts the same.
std::vector<double> weights_of(const strategy& s, const std::vector<summand>& updates) {
  std::vector<double> w;
  for (const auto& u : updates) {
    const auto weight = update_weight(static_cast<std::uint64_t>(u.tokens), u.staleness);
    w.push_back(s.robust == robust_rule::none ? static_cast<double>(weight) : weight > 0 ? 1 : 0);
  }
  const double sum = std::accumulate(w.begin(), w.end(), 0.0);
  for (double& v : w) v = sum > 0 ? v / sum : 0;
  return w;
}

result<std::vector<float>> run_mode(const strategy& s, const adapter_shape& shape,
                                    trained_factors trained, std::span<const float> parent,
                                    const std::vector<summand>& updates,
                                    const std::vector<double>& weights) {
  if (s.robust != robust_rule::none) return robust_mean(s, parent, shape, trained, updates);
  if (s.aggregate == aggregate_mode::stack_svd) return stack_svd(parent, shape, updates, weights);
  return linear_mean(parent, shape, trained, updates);
}

void tell_errors(const std::vector<product_error>& errors, aggregate& out) {
  double truth = 0, distance = 0;
  for (const auto& e : errors) {
    out.pair_errors.push_back(e.truth > 0 ? std::sqrt(e.distance / e.truth) : 0);
    truth += e.truth;
    distance += e.distance;
  }
  out.error = truth > 0 ? std::sqrt(distance / truth) : 0;
}

}  // namespace

result<aggregate> aggregate_updates(const strategy& s, const adapter_shape& shape,
                                    trained_factors trained, std::span<const float> parent,
                                    std::vector<summand> updates) {
  if (auto fine = check_cohort(s, shape, trained, parent, updates); !fine) return fine.failure();
  aggregate out;
  out.weights = weights_of(s, updates);
  std::erase_if(updates, [](auto& u) {
    return update_weight(static_cast<std::uint64_t>(u.tokens), u.staleness) == 0;
  });
  if (updates.empty())
    return error{errc::conflict, "no update of this round was trained on a token"};
  // Sums of doubles have an order: it is that of the digests, not of the arrivals.
  std::sort(updates.begin(), updates.end(), [](auto& x, auto& y) {
    return std::tie(x.digest, x.tokens, x.staleness) < std::tie(y.digest, y.tokens, y.staleness);
  });
  const auto weights = weights_of(s, updates);
  auto made = run_mode(s, shape, trained, parent, updates, weights);
  if (!made) return made.failure();
  out.factors = std::move(*made);
  if (updates.size() <= error_cohort_max) {
    auto errors = product_errors(parent, out.factors, shape, trained, updates, weights);
    if (!errors) return errors.failure();
    tell_errors(*errors, out);
  }
  return out;
}

}  // namespace collm::federation
