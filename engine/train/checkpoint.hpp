// A shadow as bytes: factors, moments and counters, with a digest over all of them and the names of
// what they belong to. Pure; any thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/train/optimizer.hpp"

namespace collm::engine {

/// What a checkpoint belongs to; every field must be equal to go on.
struct checkpoint_owner {
  std::string base, parent;  ///< digests; no parent: whichever, and whichever half was trained
  training_options options;  ///< but for threads and the limits that decide no number
};

struct saved_training {
  std::vector<float> values;  ///< laid out as lora_set::values()
  adam_optimizer::state optimizer;
};

std::vector<std::uint8_t> write_checkpoint(const checkpoint_owner& owner, const lora_set& set,
                                           const adam_optimizer::state& state);

/// `corrupt`: damaged; `conflict`: of another owner or another count of values, by the name of what
/// differs.
result<saved_training> read_checkpoint(std::span<const std::uint8_t> bytes,
                                       const checkpoint_owner& owner, std::size_t values);

}  // namespace collm::engine
