// What learns in the head's process: the coordinator, and an aggregator for every federated
// adapter. Started after the registry, ended before it.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "deploy/plan.hpp"
#include "deploy/serving.hpp"

namespace collm::deploy {

struct head_neighbours {
  actors::head_registry_actor registry;
  actors::telemetry_actor telemetry;
  actors::meter_board_ptr board;
};

class head_training {
 public:
  /// Opens <stateDir>/rounds.db, jobs.db and rounds/<adapter>/; `model` has its base open. Refuses
  /// with the file that is at fault.
  static result<std::unique_ptr<head_training>> start(caf::actor_system& system,
                                                      const spawn_plan& plan,
                                                      const opened_model& model,
                                                      const head_neighbours& with);
  ~head_training() { stop(); }
  /// By adapter.
  const std::map<std::string, actors::head_aggregator_actor>& aggregators() const {
    return aggregators_;
  }
  actors::head_coordinator_actor coordinator() const { return coordinator_; }
  void stop();

 private:
  head_training() = default;
  actors::head_coordinator_actor coordinator_;
  std::map<std::string, actors::head_aggregator_actor> aggregators_;
};

}  // namespace collm::deploy
