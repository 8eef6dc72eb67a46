// make_trainer: checks what can be checked before anything is allocated.
#include <cmath>

#include "engine/train/shadow_trainer.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t tokens_max = 1u << 20;  ///< of a batch: bounds what one call may hold
constexpr std::uint32_t window_max = 4096;
constexpr std::uint32_t threads_max = 256;

/// A rule that an option breaks, or an empty string.
std::string broken_rule(const training_options& o) {
  const auto positive = [](float f) { return std::isfinite(f) && f > 0; };
  const auto share = [](float f) { return f >= 0 && f < 1; };
  if (!positive(o.learning_rate)) return "learning_rate must be above 0";
  if (!positive(o.lora_plus_ratio)) return "lora_plus_ratio must be above 0";
  if (!positive(o.epsilon)) return "epsilon must be above 0";
  if (!share(o.beta1) || !share(o.beta2)) return "beta1 and beta2 must be from 0 to below 1";
  if (!(std::isfinite(o.clip) && o.clip >= 0)) return "clip must not be negative";
  if (!share(o.weight_decay)) return "weight_decay must be from 0 to below 1";
  if (!(std::isfinite(o.prox_mu) && o.prox_mu >= 0)) return "prox_mu must not be negative";
  if (o.schedule == rate_schedule::cosine && o.total_steps <= o.warmup_steps)
    return "total_steps of a cosine schedule must be more than warmup_steps";
  if (o.window_tokens < 16 || o.window_tokens > window_max || o.window_tokens % 16 != 0)
    return "window_tokens must be a multiple of 16 from 16 to " + std::to_string(window_max);
  if (o.head_tokens < panel_rows || o.head_tokens > window_max || o.head_tokens % panel_rows != 0)
    return "head_tokens must be a multiple of " + std::to_string(panel_rows) + ", at most " +
           std::to_string(window_max);
  if (o.sample_tokens < 2 || o.sample_tokens > o.batch_tokens)
    return "sample_tokens must be from 2 to batch_tokens";
  if (o.batch_tokens > tokens_max)
    return "batch_tokens must be at most " + std::to_string(tokens_max);
  if (o.threads < 1 || o.threads > threads_max)
    return "threads must be from 1 to " + std::to_string(threads_max);
  return {};
}

std::string misfit(const adapter& parent, const model_shape& shape) {
  if (parent.layers.size() != shape.layers)
    return "has " + std::to_string(parent.layers.size()) + " layers, the model has " +
           std::to_string(shape.layers);
  bool any = false;
  for (std::size_t l = 0; l < parent.layers.size(); ++l)
    for (std::size_t t = 0; t < targets_count; ++t) {
      const auto& pair = parent.layers[l][t];
      if (pair.rank == 0) continue;
      any = true;
      if (std::pair(pair.out, pair.in) != target_shape(shape, static_cast<target>(t)))
        return std::string("does not fit the model at layer ") + std::to_string(l) + ", target " +
               target_names[t];
    }
  return any ? "" : "has no factors to train";
}

}  // namespace

result<std::unique_ptr<trainer>> make_trainer(base_ptr b, adapter_ptr parent,
                                              const training_options& options) {
  if (const auto rule = broken_rule(options); !rule.empty())
    return error{errc::bad_request, "training option " + rule};
  if (const auto fault = misfit(*parent, b->shape()); !fault.empty())
    return error{errc::bad_request, "the adapter to train " + fault};
  auto base = std::static_pointer_cast<const packed_base>(std::move(b));
  return std::unique_ptr<trainer>(
      std::make_unique<shadow_trainer>(std::move(base), std::move(parent), options));
}

training_memory plan_training(const base& b, const adapter& parent,
                              const training_options& options) {
  const auto own = first_directions(adapter_ptr(adapter_ptr(), &parent), options.rank);
  return shadow_trainer::plan(packed(b), lora_set(b.shape(), *own),
                              shadow_trainer::room_for(lora_set(b.shape(), parent)), options);
}

}  // namespace collm::engine
