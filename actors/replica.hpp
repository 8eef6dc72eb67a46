// The replica actor: admission queue and credit before one engine. Takes a request in only while
// the promise can be kept, hands it to the engine while that has credit, accounts for every one of
// them when the engine dies.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "coordinator/admission.hpp"
#include "coordinator/fairness.hpp"
#include "messages/limits.hpp"

namespace collm::actors {

struct replica_deps {
  std::string name;  ///< "edge-a/0"
  std::uint32_t queued_max = 256;
  std::uint32_t running_max = 64;  ///< choices in the engine at once
  coordinator::slo promises;
  meter_ptr counts;
  std::vector<router_actor> routers;  ///< hear reports
  telemetry_actor telemetry;
};

/// Makes an engine that reports to `owner`; called again when the last one died.
using engine_maker = std::function<result<engine_actor>(replica_actor owner)>;

struct replica_state {
  static inline const char* name = "replica";
  struct held {
    msg<schema::Request> request;
    version_id version;
    sink_actor sink;
    std::uint32_t choices = 1, prompt_tokens = 0, max_tokens = 0;
    bool interactive = true;
    std::string tenant;
    double since_ms = 0;   ///< it asked here
    double handed_ms = 0;  ///< to the engine
  };
  std::deque<held> waiting;                               ///< in order of admission
  coordinator::tenant_times times;                        ///< what tenants asked for and were given
  std::map<std::string, coordinator::return_line> lines;  ///< of those turned away, by tenant
  std::map<caf::actor_id, held> in_engine;                ///< by the sink's id
  std::uint32_t choices_in_engine = 0;
  engine_actor engine;
  double engine_failed_ms = 0;                         ///< when one could not be made
  std::map<version_id, engine::adapter_ptr> versions;  ///< what a new engine must load
  replica_report_ptr last;  ///< the engine's own: what waits here is not in it
  double admitted_per_s = 0, admitted_slot = 0, last_report_ms = 0;
  /// Promises of the present engine's training jobs: it ends without a word to those who wait.
  std::map<std::uint64_t, caf::typed_response_promise<reply<engine::unit_report>>> training;
  std::uint64_t next_job = 0;
  double ended_per_s = 0, output_tokens = 0;  ///< choices that end while some run; what one says;
                                              ///< 0: not known
};

replica_actor::behavior_type replica_behavior(replica_actor::stateful_pointer<replica_state> self,
                                              replica_deps deps, engine_maker make_engine);

}  // namespace collm::actors
