// AdamW over the factors of one adapter (arXiv 1711.05101), with a global clip, warm-up, LoRA+'s
// second rate (arXiv 2402.12354) and FedProx's pull to the parent (arXiv 1812.06127, equation 2).
// One engine thread.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/kernels/line_vector.hpp"
#include "engine/train/lora_set.hpp"

namespace collm::engine {

/// Learning rate of step `step` (from 1): linear warm-up, then constant or half a cosine.
float rate_at(const training_options& options, std::uint64_t step);

struct optimizer_outcome {
  double norm = 0;  ///< of all trained gradients, before clipping
  float rate = 0;
};

class adam_optimizer {
 public:
  /// What a checkpoint holds beside the factors. A's and B's own counts correct their moments'
  /// bias, since phases may train them in turn.
  struct state {
    std::uint64_t steps = 0, a_updates = 0, b_updates = 0;
    std::vector<float> mean, square;
  };

  adam_optimizer(const training_options& options, std::size_t numbers);

  void clear_gradients();
  /// Laid out as lora_set::values().
  std::span<float> gradients() { return gradients_; }
  /// One step of the trained factors. `parent`: values that prox pulls to; read only if prox_mu is
  /// not 0. nullopt: a gradient is no finite number, and nothing has changed.
  std::optional<optimizer_outcome> step(lora_set& set, std::span<const float> parent,
                                        trained_factors which);
  const state& saved() const { return state_; }
  void restore(state s) { state_ = std::move(s); }
  std::uint64_t bytes() const {
    return (gradients_.size() + state_.mean.size() + state_.square.size()) * sizeof(float);
  }

 private:
  void pull(const lora_set& set, std::span<const float> parent);

  training_options options_;
  state state_;
  line_vector<float> gradients_;
};

}  // namespace collm::engine
