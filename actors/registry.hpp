// The registry actor: the only one that gives version numbers; a thin shell round
// store::version_store.
#pragma once

#include <memory>
#include <string>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "store/version_store.hpp"

namespace collm::actors {

struct registry_deps {
  std::shared_ptr<store::version_store> versions;
  std::string base_digest;  ///< what Register must name
  telemetry_actor telemetry;
  std::string node;  ///< for events
  meter_ptr counts;
};

struct registry_state {
  static inline const char* name = "registry";
};

head_registry_actor::behavior_type registry_behavior(
    head_registry_actor::stateful_pointer<registry_state> self, registry_deps deps);

/// A row as it is sent.
msg<schema::VersionRecord> record_message(const store::version_row& row);

}  // namespace collm::actors
