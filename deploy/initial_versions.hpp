// What the manifest's adapters begin as, the same in every process of a cluster.
#pragma once

#include <vector>

#include "actors/node.hpp"
#include "deploy/plan.hpp"
#include "engine/engine.hpp"

namespace collm::deploy {

/// One an adapter, in the manifest's order: made from one seed, or read from its PEFT folder.
result<std::vector<actors::initial_version>> initial_versions(const spawn_plan& plan,
                                                              const engine::base_ptr& base);

}  // namespace collm::deploy
