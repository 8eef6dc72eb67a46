// The engine actor: drives one executor, one serving step a turn and training units in what that
// leaves free, and pins versions. Detached: it computes, so it must not share a scheduler worker.
// Requests come from its replica, which holds credit for them; tokens go straight to the sink.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "actors/training_turn.hpp"
#include "coordinator/fairness.hpp"
#include "coordinator/latency_model.hpp"
#include "coordinator/step_planner.hpp"
#include "engine/executor.hpp"

namespace collm::actors {

/// The loop's last turn on the steady clock, ns: what `/health` and the watchdog read. Any thread.
using heartbeat = std::shared_ptr<std::atomic<std::int64_t>>;

struct engine_deps {
  std::string name;                         ///< "edge-a/0"
  std::shared_ptr<engine::executor> steps;  ///< used by this actor's thread only
  coordinator::slo promises;
  std::uint32_t step_tokens_max = 512;
  double unit_max_ms = 20;  ///< the manifest's maxUnit
  meter_ptr counts;
  heartbeat beat;
  std::chrono::milliseconds slot{1000};
  std::chrono::microseconds modelled_turn{0};  ///< simulations only: virtual time between two turns
};

struct engine_state {
  static inline const char* name = "engine";
  struct choice {
    std::uint64_t request = 0;  ///< key in requests
    std::uint16_t index = 0;
    double arrival_ms = 0, first_token_ms = -1;
  };
  struct running_request {
    request_id id = 0;
    sink_actor sink;
    version_id version;
    std::uint32_t choices_left = 0, next_seq = 0;
    std::uint32_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
    double arrival_ms = 0;  ///< at the gateway
    double admitted_ms = 0, scheduled_ms = -1, first_token_ms = -1;
    /// training_turn::units_ms when it was admitted, when scheduled, at its first token
    double units_admitted_ms = 0, units_before_ms = 0, units_first_ms = 0;
    std::uint32_t choices = 1;
    bool cut_by_length = false;
    bool not_finite = false;  ///< the version's logits
    bool wants_logprobs = false;
    std::string tenant;
    bool batch = false;
    std::vector<engine::sequence_id> sequences;
  };
  std::unordered_map<std::uint64_t, running_request> requests;  ///< by the sink's actor id
  std::unordered_map<engine::sequence_id, choice> choices;
  std::unordered_map<version_id, std::uint32_t> pins;
  coordinator::tenant_times times;  ///< what each tenant was given
  std::unordered_map<version_id, std::vector<caf::typed_response_promise<reply<void>>>> leaving;
  struct weights_facts {
    std::string digest;
    std::uint64_t bytes = 0;
  };
  std::map<version_id, weights_facts> loaded;
  engine::sequence_id next_sequence = 1;
  bool stepping = false;
  std::uint32_t failures_in_a_row = 0;
  std::unique_ptr<coordinator::latency_model> model;
  std::unique_ptr<coordinator::step_planner> planner;
  std::unique_ptr<training_turn> training;
  replica_report report;  ///< counters since start and of the running slot
  double slot_begun_ms = 0, slot_step_ms = 0, slot_prefill_ms = 0;
  std::uint64_t slot_steps = 0, slot_prompt = 0, slot_generated = 0;
};

/// `owner` hears done messages and reports.
engine_actor::behavior_type engine_behavior(engine_actor::stateful_pointer<engine_state> self,
                                            engine_deps deps, replica_actor owner);

/// Start values of the latency model for a machine that was not measured yet: slow enough that the
/// first steps are small.
coordinator::latency_model::options initial_latency_options();

}  // namespace collm::actors
