// What learns in one node's process: the site's store of examples and a shadow for every replica
// and federated adapter. Started beside serving_node's actors, ended before them.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "actors/node.hpp"
#include "actors/site_data.hpp"
#include "deploy/plan.hpp"
#include "deploy/serving.hpp"

namespace collm::deploy {

struct training_neighbours {
  std::vector<std::pair<std::string, actors::replica_actor>> replicas;  ///< by name
  actors::router_actor router;
  actors::local_node_actor node;
  actors::telemetry_actor telemetry;
  actors::aggregator_actor aggregator;
  actors::meter_board_ptr board;
  std::function<void(const msg<schema::Event>&)> on_event;
};

class node_training {
 public:
  /// Opens <stateDir>/sites/<site>/<node>/ and reads the node's data. Refuses with the file that is
  /// at fault. An adapter whose smallest unit is longer than maxUnit is named in an event and only
  /// served.
  static result<std::unique_ptr<node_training>> start(caf::actor_system& system,
                                                      const spawn_plan& plan, const node_plan& node,
                                                      const opened_model& model,
                                                      const training_neighbours& with);
  ~node_training() { stop(); }
  actors::site_data_actor data() const;
  void stop();

 private:
  node_training() = default;
  actors::local_site_data_actor data_;
  std::vector<actors::shadow_actor> shadows_;
};

/// Where a node keeps what must not leave its site.
std::filesystem::path site_folder(const spawn_plan& plan, const node_plan& node);

/// What the manifest's training section means to the engine.
engine::training_options training_options_of(const spawn_plan& plan, const node_plan& node,
                                             const federation_spec& federation);

}  // namespace collm::deploy
