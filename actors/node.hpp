// The node actor, one a process that serves: loads and unloads adapter versions on its replicas,
// brings itself to what the registry says serves, watches the engines' heart-beats, drains.
// Detached, because it reads adapter folders.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/engine.hpp"
#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "store/served_versions.hpp"

namespace collm::actors {

struct node_deps {
  std::string node;
  std::string base_name, base_digest;
  /// Reads a PEFT folder for this process's base. deploy/ binds the engine's loader; tests bind
  /// their own.
  std::function<result<engine::adapter_ptr>(const std::string& folder)> read_adapter;
  std::vector<replica_actor> replicas;
  router_actor router;
  registry_actor registry;
  aggregator_actor aggregator = {};  ///< factors of versions that rounds made; null: no federation
  /// The version of an adapter of the manifest with these factors. deploy/ binds the engine.
  std::function<result<engine::adapter_ptr>(const std::string& adapter,
                                            const std::vector<float>& factors)>
      with_factors = {};
  /// All numbers of a version, as with_factors takes them; there if `served` is.
  std::function<std::vector<float>(const engine::adapter&)> factors = {};
  std::shared_ptr<store::served_versions> served = {};  ///< what served before; null: not kept
  telemetry_actor telemetry;
  std::vector<heartbeat> beats;                   ///< one an engine
  std::chrono::milliseconds wedged_after{10000};  ///< a loop silent for so long is wedged
  std::function<void(const std::string&)>
      wedged;  ///< last resort: ends the process so that its supervisor replaces it
  std::function<std::uint32_t()> requests_in_flight;  ///< of its gateway and of its head
  std::function<void()> on_drain;                     ///< not ready from now on
  std::function<void()> on_drained = [] {};           ///< nothing runs any more, or will not end
  meter_ptr counts;
  std::chrono::milliseconds slot{1000};
  std::chrono::milliseconds retry{
      10000};                      ///< before a version that could not be read is tried again
  std::uint32_t resident_max = 3;  ///< versions of one adapter, draining ones included
};

/// What a node starts with: the manifest's adapters. Served at once as @0, where it kept nothing
/// newer, so that a site starts without its head.
struct initial_version {
  std::string name;
  engine::adapter_ptr weights;
  std::string source;                                      ///< "initial" or "peft:<folder>"
  std::string folder;                                      ///< absolute; empty: made here
  std::function<result<engine::adapter_ptr>()> make = {};  ///< the same factors again, if made here
};
/// How it is told to the registry; `at_start`: the process begins with it.
msg<schema::Register> registration(const initial_version& v, const std::string& node,
                                   const std::string& base_digest, bool at_start);
/// The source of what was read from a PEFT folder.
std::string peft_source(const std::string& folder);

struct node_state {
  static inline const char* name = "node";
  struct resident {
    engine::adapter_ptr weights;
    schema::VersionState state = schema::VersionState::SERVING;
    std::string source = {}, folder = {};  ///< as in its VersionRecord
  };
  std::map<version_id, resident> versions;
  std::vector<initial_version>
      unregistered;  ///< initial versions that the registry has not confirmed yet
  struct waiting_drain {
    caf::typed_response_promise<reply<void>> promise;
    double until_ms = 0;
  };
  std::vector<waiting_drain> drains;
  struct ended_drain {
    std::uint32_t requests = 0;  ///< that were still running at the deadline
    double at_ms = 0;
  };
  std::optional<ended_drain> ended;  ///< none: no deadline has passed with something running
  /// By digest, what makes the manifest's factors once more: their old numbers may serve again.
  std::map<std::string, std::function<result<engine::adapter_ptr>()>> makers;
  using installed = std::function<void(const result<void>&)>;
  std::map<version_id, std::vector<installed>> installing;  ///< who waits for it
  struct failed_version {
    std::string reason;
    double retry_at_ms = 0;
  };
  std::map<version_id, failed_version> failed;  ///< serving by the registry and not here
  /// Kept by the process before, until the registry has spoken of them.
  std::set<version_id> resumed;
  std::size_t unanswered = 0;  ///< questions to the registry
};

/// node_actor and what its own gateway and shadows ask.
using local_node_actor = node_actor::extend<
    replies_to<unload_atom, std::string>::with<reply<msg<schema::VersionRecord>>>,
    replies_to<fetch_atom, version_id, std::string>::with<
        reply<engine::adapter_ptr>>,  // factors of a version with this digest, served or not
    reacts_to<drain_atom>>;           // to itself: a drain may be over

local_node_actor::behavior_type node_behavior(local_node_actor::stateful_pointer<node_state> self,
                                              node_deps deps, std::vector<initial_version> initial);

}  // namespace collm::actors
