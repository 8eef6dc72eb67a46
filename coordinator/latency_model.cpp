#include "coordinator/latency_model.hpp"

#include <algorithm>
#include <cmath>

namespace collm::coordinator {

namespace {
// A workload or a neighbour changed when the mean relative error over this many steps leaves the
// band: old samples then mislead, so the covariance is opened again.
constexpr int drift_window = 32;
constexpr double drift_band = 0.15;
}  // namespace

latency_model::latency_model(const options& o) : options_(o), costs_{o.theta, o.margin} {
  for (std::size_t i = 0; i < features_count; ++i) covariance_[i][i] = o.covariance;
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
  auto phi = f.vector();
  for (std::size_t i = 0; i < features_count; ++i) phi[i] /= options_.scale[i];
  const double predicted = mean_ms(f);
  const double error = predicted > 0 ? (measured_ms - predicted) / predicted : 1;
  costs_.margin +=
      options_.margin_gain * ((error > costs_.margin ? 1 : 0) - options_.margin_target);

  std::array<double, features_count> column{};  // covariance * phi
  double denominator = options_.forgetting;
  for (std::size_t i = 0; i < features_count; ++i) {
    for (std::size_t j = 0; j < features_count; ++j) column[i] += covariance_[i][j] * phi[j];
  }
  for (std::size_t i = 0; i < features_count; ++i) denominator += phi[i] * column[i];
  const double residual = measured_ms - predicted;
  for (std::size_t i = 0; i < features_count; ++i) {
    const double scaled = costs_.theta[i] * options_.scale[i] + column[i] / denominator * residual;
    costs_.theta[i] = std::max(0.0, scaled / options_.scale[i]);
  }
  double trace = 0;
  for (std::size_t i = 0; i < features_count; ++i) {
    for (std::size_t j = 0; j < features_count; ++j) {
      covariance_[i][j] =
          (covariance_[i][j] - column[i] * column[j] / denominator) / options_.forgetting;
    }
    trace += covariance_[i][i];
  }
  // A feature that never varies would let forgetting blow the covariance up without bound.
  if (trace > options_.covariance_trace_max) {
    for (auto& row : covariance_) {
      for (double& v : row) v *= options_.covariance_trace_max / trace;
    }
  }
  forget_history_on_drift(error);
  return true;
}

void latency_model::forget_history_on_drift(double relative_error) {
  recent_error_ += relative_error;
  if (++recent_count_ < drift_window) return;
  if (std::abs(recent_error_ / drift_window) > drift_band) {
    for (std::size_t i = 0; i < features_count; ++i) {
      covariance_[i].fill(0);
      covariance_[i][i] = options_.covariance;
    }
  }
  recent_error_ = 0;
  recent_count_ = 0;
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
