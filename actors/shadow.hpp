// The adapter shadow, one a replica and adapter: asks its aggregator what to do, gathers batches
// from the site's own examples, has its engine train them in units between serving steps, and
// streams the change of the factors to the aggregator. Detached, because it reads and writes
// checkpoints. Nothing but what messages/adaptation.capnp names leaves the site.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "actors/node.hpp"
#include "store/checkpoint_store.hpp"

namespace collm::actors {

struct shadow_deps {
  std::string replica;  ///< "edge-a/0": the client of rounds
  std::string site, adapter, base_digest;
  replica_actor engine;  ///< whose engine runs the units
  aggregator_actor aggregator;
  site_data_actor data;
  local_node_actor node;  ///< knows the factors of versions
  router_actor router;
  telemetry_actor telemetry;
  /// deploy/ binds the engine's maker; tests bind their own.
  std::function<result<std::shared_ptr<engine::trainer>>(const engine::adapter_ptr& parent)>
      make_trainer;
  std::function<result<engine::training_sample>(const store::site_row&)> encode;
  /// General text, the same on every node: what a candidate must not forget.
  std::vector<engine::training_sample> guard;
  std::shared_ptr<store::checkpoint_store> checkpoints;
  std::uint32_t batch_tokens = 1024;
  bool own_rank = false;  ///< its site has a rank of its own: updates say which
  double share = 1;       ///< of time, while there is something to do; the policy's
  /// Trains a second shadow beside this one on the same batches that never meets another site's,
  /// and serves it as "<adapter>-alone": the control of the demo.
  bool alone = false;
  meter_ptr counts;
  std::chrono::milliseconds slot{500};
};

struct shadow_state {
  static inline const char* name = "adapter_shadow";
};

shadow_actor::behavior_type shadow_behavior(shadow_actor::stateful_pointer<shadow_state> self,
                                            shadow_deps deps);

}  // namespace collm::actors
