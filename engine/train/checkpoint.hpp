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
  std::string base, parent;  ///< digests
  training_options options;  ///< but for threads and the limits that decide no number
};

std::vector<std::uint8_t> write_checkpoint(const checkpoint_owner& owner, const lora_set& set,
                                           const adam_optimizer::state& state);

/// Reads into `set` and returns the optimizer's state. `corrupt`: damaged; `conflict`: of another
/// owner, by the name of what differs. `set` changes on success only.
result<adam_optimizer::state> read_checkpoint(std::span<const std::uint8_t> bytes,
                                              const checkpoint_owner& owner, lora_set& set);

}  // namespace collm::engine
