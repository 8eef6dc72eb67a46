#include "coordinator/latency_model.hpp"

#include <algorithm>
#include <cmath>

namespace collm::coordinator {

namespace {

// A workload or a neighbour changed when the mean relative error over this many steps leaves the
// band: older samples then mislead. A single step counts for 1 at most: one that the machine
// interrupted for long says nothing about the rest.
constexpr std::size_t drift_steps = 32;
constexpr double drift_band = 0.15;

constexpr std::size_t history_steps = 2048, refit_samples_min = 64;
constexpr std::uint32_t refit_steps = 256;  // interval after DeltaServe's
constexpr double refit_age_divisor = 8;     // the refit forgets so much slower than each step does
constexpr double ridge = 1e-9;

}  // namespace

latency_model::latency_model(const options& o)
    : options_(o), costs_{o.theta, o.margin}, history_(history_steps) {
  open_covariance();
}

double step_costs::mean_ms(const step_features& f) const {
  const auto phi = f.vector();
  double sum = 0;
  for (std::size_t i = 0; i < features_count; ++i) sum += theta[i] * phi[i];
  return sum;
}

double step_costs::bound_ms(const step_features& f) const {
  return mean_ms(f) * (1 + std::max(0.0, margin));
}

bool latency_model::observe(const step_features& f, double measured_ms) {
  if (!std::isfinite(measured_ms) || measured_ms <= 0) return false;
  sample s{.scaled = f.vector(), .ms = measured_ms};
  for (std::size_t i = 0; i < features_count; ++i) s.scaled[i] /= options_.scale[i];
  const double predicted = mean_ms(f);
  s.relative_error = predicted > 0 ? (measured_ms - predicted) / predicted : 1;
  costs_.margin +=
      options_.margin_gain * ((s.relative_error > costs_.margin ? 1 : 0) - options_.margin_target);
  adapt(s);
  remember(s);
  if (++since_refit_ >= refit_steps) refit();
  forget_history_on_drift();
  return true;
}

/// One step of recursive least squares on the scaled features.
void latency_model::adapt(const sample& s) {
  feature_vector column{};  // covariance * features
  double denominator = options_.forgetting, residual = s.ms;
  for (std::size_t i = 0; i < features_count; ++i) {
    for (std::size_t j = 0; j < features_count; ++j) column[i] += covariance_[i][j] * s.scaled[j];
    residual -= costs_.theta[i] * options_.scale[i] * s.scaled[i];
  }
  for (std::size_t i = 0; i < features_count; ++i) denominator += s.scaled[i] * column[i];
  for (std::size_t i = 0; i < features_count; ++i) {
    const double scaled = costs_.theta[i] * options_.scale[i] + column[i] / denominator * residual;
    costs_.theta[i] = std::max(0.0, scaled / options_.scale[i]);
  }
  for (std::size_t i = 0; i < features_count; ++i) {
    for (std::size_t j = 0; j < features_count; ++j) {
      covariance_[i][j] =
          (covariance_[i][j] - column[i] * column[j] / denominator) / options_.forgetting;
    }
  }
  bound_covariance();
}

/// A feature that never varies would let forgetting blow the covariance up without bound.
void latency_model::bound_covariance() {
  double trace = 0;
  for (std::size_t i = 0; i < features_count; ++i) trace += covariance_[i][i];
  if (trace <= options_.covariance_trace_max) return;
  for (auto& row : covariance_) {
    for (double& v : row) v *= options_.covariance_trace_max / trace;
  }
}

const latency_model::sample& latency_model::newest(std::size_t age) const {
  return history_[(next_ + history_steps - 1 - age) % history_steps];
}

void latency_model::remember(const sample& s) {
  history_[next_] = s;
  next_ = (next_ + 1) % history_steps;
  kept_ = std::min(kept_ + 1, history_steps);
}

void latency_model::refit() {
  since_refit_ = 0;
  if (kept_ < refit_samples_min) return;
  feature_matrix normal{};
  feature_vector right{};
  double weight = 1;
  const double older = std::pow(options_.forgetting, 1 / refit_age_divisor);
  for (std::size_t age = 0; age < kept_; ++age, weight *= older) {
    const auto& s = newest(age);
    for (std::size_t i = 0; i < features_count; ++i) {
      const double weighted = weight * s.scaled[i];
      for (std::size_t j = 0; j < features_count; ++j) normal[i][j] += weighted * s.scaled[j];
      right[i] += weighted * s.ms;
    }
  }
  const auto before = costs_.theta;
  for (std::size_t i = 0; i < features_count; ++i) {
    normal[i][i] += ridge;
    // What the samples say nothing about keeps its value instead of becoming 0.
    right[i] += ridge * before[i] * options_.scale[i];
  }
  const auto scaled = nonnegative_least_squares(normal, right);
  for (std::size_t i = 0; i < features_count; ++i) costs_.theta[i] = scaled[i] / options_.scale[i];
}

void latency_model::forget_history_on_drift() {
  if (++since_flush_ < drift_steps) return;
  double sum = 0;
  for (std::size_t age = 0; age < drift_steps; ++age)
    sum += std::clamp(newest(age).relative_error, -1.0, 1.0);
  if (std::abs(sum / drift_steps) <= drift_band) return;
  kept_ = drift_steps;
  since_refit_ = since_flush_ = 0;
  open_covariance();
  for (std::size_t age = drift_steps; age-- > 0;) adapt(newest(age));
}

void latency_model::open_covariance() {
  covariance_ = {};
  for (std::size_t i = 0; i < features_count; ++i) covariance_[i][i] = options_.covariance;
}

std::uint32_t step_costs::prefill_root(double packed_ms, double budget_ms, double offset) const {
  const double rest = budget_ms - packed_ms;
  if (rest <= 0) return 0;
  const double factor = 1 + std::max(0.0, margin);
  const double square = factor * theta[2] / 2;
  const double linear = factor * (theta[1] + theta[2] * offset);
  double root = 0;
  if (square <= 0) {
    if (linear <= 0) return UINT32_MAX;
    root = rest / linear;
  } else {
    root = (-linear + std::sqrt(linear * linear + 4 * square * rest)) / (2 * square);
  }
  return root >= 4e9 ? UINT32_MAX : static_cast<std::uint32_t>(root);
}

}  // namespace collm::coordinator
