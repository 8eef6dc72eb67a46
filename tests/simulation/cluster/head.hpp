// The head's process in the simulated cluster: production actors over real stores in a folder,
// whose durable calls can be made to fail.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/aggregator.hpp"
#include "actors/coordinator.hpp"
#include "actors/registry.hpp"
#include "actors/site_router.hpp"
#include "actors/supervisor.hpp"
#include "actors/telemetry.hpp"
#include "tests/simulation/cluster/gateway.hpp"
#include "tests/simulation/cluster/learning.hpp"
#include "tests/simulation/cluster/link.hpp"
#include "tests/support/power_cut.hpp"

namespace collm::simulation {

struct head_options {
  std::filesystem::path folder;
  std::vector<actors::planned_node> nodes;
  learning_facts learns;
  std::uint32_t replicas = 0;  ///< that train
  /// Starts a process; its end is told by child_ended.
  std::function<result<std::int32_t>(const std::string& node, std::uint64_t incarnation)> launch;
  std::function<void(std::int32_t pid)> kill;
};

class sim_head {
 public:
  sim_head(world& in, head_options o, std::shared_ptr<testing_support::power> power);
  sim_head(const sim_head&) = delete;

  void die(const std::string& why);
  void child_ended(const std::string& node, std::int32_t pid, std::int32_t status);
  const head_ends& ends() const { return ends_; }

  process_ptr proc;
  std::shared_ptr<testing_support::power> power;
  actors::meter_board_ptr board = std::make_shared<actors::meter_board>();
  std::shared_ptr<store::version_store> versions;
  std::shared_ptr<store::round_journal> journal;  ///< null: nothing learns
  actors::telemetry_actor telemetry;
  actors::head_registry_actor registry;
  actors::head_coordinator_actor coordinator;
  actors::head_aggregator_actor aggregator;
  actors::site_router_actor ingress;
  actors::head_supervisor_actor supervisor;
  std::unique_ptr<head_gate> gate;
  std::unique_ptr<sim_gateway> gateway;

 private:
  void spawn_learning();
  void spawn_supervisor();
  world& in_;
  head_options o_;
  std::unique_ptr<testing_support::powered_disk> disk_;
  head_ends ends_;
};

}  // namespace collm::simulation
