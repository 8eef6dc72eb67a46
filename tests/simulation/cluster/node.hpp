// One node's process in the simulated cluster: the production actors of deploy/'s serving_node over
// modelled executors, with a gateway and a link to the head.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "actors/bridge.hpp"
#include "actors/engine.hpp"
#include "actors/node.hpp"
#include "actors/replica.hpp"
#include "actors/router.hpp"
#include "actors/shadow.hpp"
#include "actors/site_data.hpp"
#include "actors/telemetry.hpp"
#include "tests/simulation/cluster/gateway.hpp"
#include "tests/simulation/cluster/learning.hpp"
#include "tests/simulation/cluster/link.hpp"
#include "tests/simulation/cluster/world.hpp"
#include "tests/support/modelled_executor.hpp"

namespace collm::simulation {

/// What a plan says of a node, the same over its restarts.
struct node_facts {
  std::string name, site;
  std::uint32_t replicas = 1;
  std::uint32_t queued_max = 16, running_max = 8, kv_blocks = 40;
  microseconds turn{4000};  ///< virtual time of an engine's step
};

struct replica_parts {
  std::string name;
  actors::replica_actor desk;
  actors::engine_actor engine;                                ///< the present one
  std::shared_ptr<testing_support::modelled_executor> steps;  ///< of that engine
};

class sim_node {
 public:
  /// `folder`: the node's own, the same over its restarts.
  sim_node(world& in, node_facts facts, const learning_facts& learns, std::filesystem::path folder,
           node_link::options link);
  sim_node(const sim_node&) = delete;

  /// As SIGTERM: refuses, ends what runs, then exits. The kernel sends it when the head dies.
  void drain();
  /// kill -9.
  void die(const std::string& why);

  const node_facts facts;
  const std::int32_t pid;
  process_ptr proc;
  actors::meter_board_ptr board = std::make_shared<actors::meter_board>();
  actors::telemetry_actor telemetry;
  actors::node_router_actor router;
  std::vector<replica_parts> replicas;
  actors::local_node_actor node;
  std::shared_ptr<way_to_head> way = std::make_shared<way_to_head>();
  std::unique_ptr<sim_gateway> gateway;
  std::uint32_t failing_steps = 0;  ///< that the plan asked for so far
  std::function<void()> on_exit;    ///< it has drained; called in a turn of its own

 private:
  actors::meter_ptr meter(const char* name, const std::string& id = "") {
    return board->make(name, id);
  }
  void spawn_telemetry();
  void spawn_replica(std::size_t number);
  void spawn_node(const stand_ins& head);
  void spawn_learning(const stand_ins& head);

  world& in_;
  const learning_facts learns_;
  const std::filesystem::path folder_;
  caf::actor courier_;
  std::unique_ptr<node_link> link_;
  bool draining_ = false;
};

}  // namespace collm::simulation
