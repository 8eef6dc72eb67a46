#include "engine/train/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/kernels/training_kernels.hpp"

namespace collm::engine {
namespace {

/// Stretches of lora_set::values() that are trained: f(offset, count, is_b).
template <class F>
void for_trained(const lora_set& set, trained_factors which, F&& f) {
  for (std::uint32_t l = 0; l < set.layers(); ++l)
    for (const auto& t : set.targets(l)) {
      if (which != trained_factors::b_only) f(t.a, t.rank * t.in, false);
      if (which != trained_factors::a_only) f(t.b, t.rank * t.out, true);
    }
}

adam_step step_of(const training_options& o, float rate, std::uint64_t updates, double factor) {
  const auto t = static_cast<double>(updates);
  adam_step s;
  s.beta1 = o.beta1;
  s.beta2 = o.beta2;
  s.epsilon = o.epsilon;
  s.decay = 1.0f - rate * o.weight_decay;
  s.rate = static_cast<float>(static_cast<double>(rate) /
                              (1 - std::pow(static_cast<double>(o.beta1), t)));
  s.root = static_cast<float>(1 / std::sqrt(1 - std::pow(static_cast<double>(o.beta2), t)));
  s.gradient_factor = static_cast<float>(factor);
  return s;
}

}  // namespace

float rate_at(const training_options& o, std::uint64_t step) {
  if (step <= o.warmup_steps)
    return o.learning_rate * static_cast<float>(step) / static_cast<float>(o.warmup_steps);
  if (o.schedule == rate_schedule::constant) return o.learning_rate;
  const double done = static_cast<double>(step - o.warmup_steps) /
                      static_cast<double>(o.total_steps - o.warmup_steps);
  const double share = 0.5 * (1 + std::cos(std::numbers::pi * std::min(done, 1.0)));
  return static_cast<float>(static_cast<double>(o.learning_rate) * share);
}

adam_optimizer::adam_optimizer(const training_options& options, std::size_t numbers)
    : options_(options), gradients_(numbers) {
  state_.mean.resize(numbers);
  state_.square.resize(numbers);
}

void adam_optimizer::clear_gradients() { std::ranges::fill(gradients_, 0.0f); }

/// Adds the gradient of mu/2 |W - W_parent|^2.
void adam_optimizer::pull(const lora_set& set, std::span<const float> parent) {
  for (std::size_t i = 0; i < gradients_.size(); ++i)
    gradients_[i] += options_.prox_mu * (set.values()[i] - parent[i]);
}

std::optional<optimizer_outcome> adam_optimizer::step(lora_set& set, std::span<const float> parent,
                                                      trained_factors which) {
  if (options_.prox_mu != 0) pull(set, parent);
  const auto& kernels = training_kernels();
  double squares = 0;
  for_trained(set, which, [&](std::size_t at, std::uint32_t n, bool) {
    squares += kernels.squares(gradients_.data() + at, n);
  });
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) return std::nullopt;
  ++state_.steps;
  if (which != trained_factors::b_only) ++state_.a_updates;
  if (which != trained_factors::a_only) ++state_.b_updates;
  const float rate = rate_at(options_, state_.steps);
  const double clip = static_cast<double>(options_.clip);
  const double factor = clip > 0 ? std::min(1.0, clip / (norm + 1e-6)) : 1.0;
  const adam_step of_a =
                      step_of(options_, rate, std::max<std::uint64_t>(state_.a_updates, 1), factor),
                  of_b = step_of(options_, rate * options_.lora_plus_ratio,
                                 std::max<std::uint64_t>(state_.b_updates, 1), factor);
  for_trained(set, which, [&](std::size_t at, std::uint32_t n, bool is_b) {
    kernels.adam(is_b ? of_b : of_a, gradients_.data() + at, n, set.values().data() + at,
                 state_.mean.data() + at, state_.square.data() + at);
  });
  set.refresh();
  return optimizer_outcome{norm, rate};
}

}  // namespace collm::engine
