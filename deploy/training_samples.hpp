// A site's examples and the general text as what a trainer reads: tokens, and where the answer
// begins.
#pragma once

#include <vector>

#include "engine/training.hpp"
#include "gateway/prompt.hpp"
#include "messages/result.hpp"
#include "store/site_data.hpp"

namespace collm::deploy {

/// The question as the chat template puts it (or the plain prompt), then the answer and the token
/// that ends it. too_large: more than `tokens_max`.
result<engine::training_sample> encode_sample(const gateway::prompt_encoder& with,
                                              const store::site_row& row, std::uint32_t tokens_max);

/// The guard set: general text, the same on every node, that a candidate must not get worse at.
std::vector<engine::training_sample> guard_samples(const text::tokenizer& tokens);

}  // namespace collm::deploy
