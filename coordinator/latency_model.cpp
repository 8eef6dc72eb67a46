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

// A prompt token, with its products with the weights, costs at least as much as so many pairs.
// Prompts that are all alike do not tell the two costs apart; without this all could be laid on the
// pairs, and a longer prompt be predicted tens of times too late. So the fit's unknowns are a pair
// with its part of a token, and the rest of the token. By arithmetic a token is about six times the
// model's width of pairs (3,456 for SmolLM2); slow kernels of attention may take most of that.
constexpr double pairs_per_token = 256;

feature_vector columns_of(const step_features& f) {
  auto columns = f.vector();
  columns[2] += pairs_per_token * columns[1];
  return columns;
}

feature_vector theta_of(feature_vector unknowns) {
  unknowns[1] += pairs_per_token * unknowns[2];
  return unknowns;
}

feature_vector unknowns_of(feature_vector theta) {
  theta[1] = std::max(0.0, theta[1] - pairs_per_token * theta[2]);
  return theta;
}

}  // namespace

latency_model::latency_model(const options& o)
    : options_(o),
      costs_{o.theta, o.margin},
      unknowns_(unknowns_of(o.theta)),
      history_(history_steps) {
  for (std::size_t i = 0; i < features_count; ++i) unknowns_[i] *= o.scale[i];
  begin();
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
  sample s{.scaled = columns_of(f), .ms = measured_ms};
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

/// Least squares over all samples, older ones weighing less, and no cost below 0. (The recursion of
/// the inverse, RLS, gives the same, but for the inertia, where no cost is bound. To cut its result
/// off at 0 is another thing: of a correction that lowers one cost and raises another only the
/// second half is made, and predictions run away.)
void latency_model::adapt(const sample& s) {
  for (std::size_t i = 0; i < features_count; ++i) {
    for (std::size_t j = 0; j < features_count; ++j)
      normal_[i][j] = options_.forgetting * normal_[i][j] + s.scaled[i] * s.scaled[j];
    right_[i] = options_.forgetting * right_[i] + s.scaled[i] * s.ms;
  }
  solve(normal_, right_, options_.inertia);
}

/// What the samples say nothing about keeps its value, of weight `inertia`, instead of becoming 0.
void latency_model::solve(feature_matrix normal, feature_vector right, double inertia) {
  for (std::size_t i = 0; i < features_count; ++i) {
    normal[i][i] += inertia;
    right[i] += inertia * unknowns_[i];
  }
  unknowns_ = nonnegative_least_squares(normal, right);
  auto unscaled = unknowns_;
  for (std::size_t i = 0; i < features_count; ++i) unscaled[i] /= options_.scale[i];
  costs_.theta = theta_of(unscaled);
}

/// As if the samples so far had said the present costs.
void latency_model::agree() {
  right_ = {};
  for (std::size_t i = 0; i < features_count; ++i)
    for (std::size_t j = 0; j < features_count; ++j) right_[i] += normal_[i][j] * unknowns_[j];
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
  solve(normal, right, ridge);
  agree();
}

void latency_model::forget_history_on_drift() {
  if (++since_flush_ < drift_steps) return;
  double sum = 0;
  for (std::size_t age = 0; age < drift_steps; ++age)
    sum += std::clamp(newest(age).relative_error, -1.0, 1.0);
  if (std::abs(sum / drift_steps) <= drift_band) return;
  kept_ = drift_steps;
  since_refit_ = since_flush_ = 0;
  begin();
  for (std::size_t age = drift_steps; age-- > 0;) adapt(newest(age));
}

/// Nothing is known but the present costs.
void latency_model::begin() {
  normal_ = {};
  for (std::size_t i = 0; i < features_count; ++i) normal_[i][i] = options_.start_weight;
  agree();
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
