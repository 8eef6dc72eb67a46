// How long a serving step takes: five non-negative features, fitted online, with an upper bound.
// Pure; owner: one engine. t_hat = theta . (1, n_P, a_P, n_D, k_D), non-negative least squares with
// forgetting, refitted now and then over a longer memory, which is cut when the machine has
// changed; t_up = t_hat (1 + max(0, M)), M a quantile tracker of the relative error with 95 %
// target coverage (Robbins-Monro).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "coordinator/least_squares.hpp"

namespace collm::coordinator {

/// One step's work. Token pairs: sum over chunks of n*o + n*n/2 (n tokens of the chunk, o computed
/// before it).
struct step_features {
  double prefill_tokens = 0;
  double prefill_pairs = 0;
  double decodes = 0;
  double decode_context = 0;  ///< KV tokens read by the decodes
  feature_vector vector() const {
    return {1, prefill_tokens, prefill_pairs, decodes, decode_context};
  }
};

/// Of a prompt that is computed from its first token on.
inline step_features prompt_features(double tokens) {
  return {.prefill_tokens = tokens, .prefill_pairs = tokens * tokens / 2};
}

/// A fitted model as a value, to be carried elsewhere.
struct step_costs {
  feature_vector theta{};  ///< ms per unit of each feature
  double margin = 0;       ///< M of the upper bound

  double mean_ms(const step_features& f) const;   ///< t_hat
  double bound_ms(const step_features& f) const;  ///< t_up
  /// What it adds to a step, or takes in all the steps that compute it: t_hat without their own.
  double added_ms(const step_features& f) const { return mean_ms(f) - theta[0]; }
  /// Most tokens p of one prompt with `offset` computed tokens, added to a step that is predicted
  /// to take `packed_ms` (bound), such that the bound of the whole stays within `budget_ms`: the
  /// positive root of the quadratic in p, floored.
  std::uint32_t prefill_root(double packed_ms, double budget_ms, double offset) const;
};

class latency_model {
 public:
  struct options {
    feature_vector theta;  ///< start values, ms per unit of each feature; rough ones do
    feature_vector scale;  ///< largest values expected: the fit works on feature/scale
    double forgetting = 0.995;
    double start_weight = 1e-3;  ///< of the values at start or drift, against a sample's
    double inertia = 1e-4;       ///< the same of the present values: what no sample tells stays
    double margin = 0.05;        ///< start value of M
    double margin_gain = 0.02;
    double margin_target = 0.05;  ///< share of steps allowed above the bound
  };
  explicit latency_model(const options& o);

  const step_costs& costs() const { return costs_; }
  double mean_ms(const step_features& f) const { return costs_.mean_ms(f); }
  double bound_ms(const step_features& f) const { return costs_.bound_ms(f); }
  double margin() const { return costs_.margin; }
  const feature_vector& theta() const { return costs_.theta; }
  std::uint32_t prefill_root(double packed_ms, double budget_ms, double offset) const {
    return costs_.prefill_root(packed_ms, budget_ms, offset);
  }

  /// One measured step. Non-finite or non-positive times are refused (false) and change nothing.
  bool observe(const step_features& f, double measured_ms);

 private:
  struct sample {
    feature_vector scaled{};  ///< columns of the fit
    double ms = 0, relative_error = 0;
  };
  const sample& newest(std::size_t age) const;  ///< 0: the last
  void remember(const sample& s);
  void adapt(const sample& s);
  void solve(feature_matrix normal, feature_vector right, double inertia);
  void agree();
  void begin();
  void refit();
  void forget_history_on_drift();

  options options_;
  step_costs costs_;           ///< per unscaled feature
  feature_vector unknowns_{};  ///< the fit's, of scaled columns
  feature_matrix normal_{};    ///< of the samples so far, and their right side
  feature_vector right_{};
  std::vector<sample> history_;  ///< a ring
  std::size_t next_ = 0, kept_ = 0;
  std::uint32_t since_refit_ = 0, since_flush_ = 0;
};

}  // namespace collm::coordinator
