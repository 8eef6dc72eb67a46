// The coordinator, one, on the head: decides with coordinator::round_policy when an adapter's next
// round opens and who trains in it, and keeps the fine-tuning jobs. Serving does not need it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "coordinator/round_policy.hpp"
#include "store/job_store.hpp"

namespace collm::actors {

/// An adapter that learns.
struct learning_adapter {
  std::string name;
  coordinator::round_policy_options policy;
  bool standing = true;  ///< learns also without a job, as long as something is gained
};

struct coordinator_deps {
  std::vector<learning_adapter> adapters;
  std::shared_ptr<store::job_store> jobs;
  std::function<std::int64_t()> unix_time;  ///< s; empty: the machine's
  std::string node = "head";
  telemetry_actor telemetry;
  meter_ptr counts;
  std::chrono::milliseconds slot{1000};
};

struct coordinator_state {
  static inline const char* name = "coordinator";
};

head_coordinator_actor::behavior_type coordinator_behavior(
    head_coordinator_actor::stateful_pointer<coordinator_state> self, coordinator_deps deps);

}  // namespace collm::actors
