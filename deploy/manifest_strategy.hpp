// The aggregation strategy of a federated adapter, in our words or in Flower's. Inside deploy/
// only.
#pragma once

#include "deploy/manifest_section.hpp"

namespace collm::deploy {

/// Reads `strategy` of `item`: a mapping {aggregate, prox, async, robust}, or one of Flower's names
/// alone.
void read_strategy(section& item, strategy_spec& out);

}  // namespace collm::deploy
