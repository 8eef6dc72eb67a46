// The aggregator, one a federated adapter, on the head: it alone owns the round and its journal.
// Shadows ask it for work and send their updates; it sums them, has the sites judge the candidate,
// and asks the registry to promote. Detached: it reads and writes files.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "coordinator/gate_course.hpp"
#include "federation/strategy.hpp"
#include "store/blob_store.hpp"
#include "store/round_journal.hpp"

namespace collm::actors {

struct aggregator_deps {
  std::string adapter, node = "head";
  federation::adapter_shape shape;
  federation::strategy how;
  coordinator::gate_options gate;
  coordinator::gate_patience patience;
  std::uint32_t guard_pool = 0;  ///< general sequences that every node has; 0: none
  std::optional<coordinator::canary_options> canary;  ///< none: the gate alone decides
  double deadline_ms = 60000;                         ///< of a round, from opening
  double gather_ms = 3000;         ///< a head that came back hears its sites before it judges
  double operator_ms = 600000;     ///< a candidate that only an operator may promote waits so long
  std::uint32_t quorum = 2;        ///< updates that hold tokens
  std::uint32_t rounds_kept = 16;  ///< whose updates stay on the disk, for replay
  std::string base_digest;
  /// All factors of a version that no round made: initial, or from a PEFT folder.
  std::function<result<std::vector<float>>(const msg<schema::VersionRecord>&)> factors_of;
  /// The adapter's digest over config and tensors, as nodes compute it: what the registry holds.
  std::function<result<std::string>(const std::vector<float>&)> version_digest;
  std::shared_ptr<store::round_journal> journal;
  std::shared_ptr<store::blob_store> blobs;  ///< of this adapter alone
  head_registry_actor registry;
  head_coordinator_actor coordinator;
  telemetry_actor telemetry;  ///< the head's
  meter_ptr counts;
  std::chrono::milliseconds slot{1000};
};

struct aggregator_state {
  static inline const char* name = "aggregator";
};

head_aggregator_actor::behavior_type aggregator_behavior(
    head_aggregator_actor::stateful_pointer<aggregator_state> self, aggregator_deps deps);

}  // namespace collm::actors
