// The aggregation strategy of a federated adapter, in our words or in Flower's. Inside deploy/
// only.
#pragma once

#include "deploy/manifest_section.hpp"
#include "federation/strategy.hpp"

namespace collm::deploy {

/// Reads `strategy` of `item`: a mapping {aggregate, prox, async, robust}, or one of Flower's names
/// alone.
void read_strategy(section& item, strategy_spec& out);

/// What the rounds of an adapter obey. bad_request: parts that do not go together, and what would.
result<federation::strategy> strategy_of(const federation_spec& f);

}  // namespace collm::deploy
