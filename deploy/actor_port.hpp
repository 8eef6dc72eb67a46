// gateway::port over actors: one bridge actor a request, and askers for what is answered later. Any
// thread.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "actors/bridge.hpp"
#include "actors/engine.hpp"
#include "actors/interfaces.hpp"
#include "actors/node.hpp"
#include "deploy/federation_gateway.hpp"
#include "deploy/site_gateway.hpp"
#include "gateway/port.hpp"

namespace collm::deploy {

/// What differs between a node's gateway and the head's.
struct port_deps {
  std::string base_name, base_root;
  actors::router_actor router;
  actors::telemetry_actor telemetry;
  actors::meter_ptr bridges;            ///< shared by all bridges
  actors::local_node_actor node;        ///< a node's own; empty on the head
  actors::supervisor_actor supervisor;  ///< the head's; empty on a node
  /// A node's ClusterStatus round its own snapshot.
  std::function<msg<schema::ClusterStatus>(const msg<schema::Snapshot>&)> describe;
  std::function<std::string()> fault;  ///< empty: alive
  std::function<bool()> ready;
  std::function<void()> request_stop;
  std::shared_ptr<std::atomic<std::uint32_t>> in_flight;  ///< requests that have not ended
  limits bounds;
  // -- training; all may be left out, then the gateway says what is not here
  std::string site{};                       ///< of this node; empty on the head
  actors::site_data_actor site_data{};      ///< a node's own; never the head's
  std::filesystem::path files_index{};      ///< beside the site's store; empty: not kept
  actors::coordinator_actor coordinator{};  ///< the head's, or the link's proxy of it
  std::map<std::string, actors::head_aggregator_actor> aggregators{};  ///< by adapter; the head's
  actors::registry_actor registry{};                                   ///< the head's
  std::string answers_nobody{};  ///< of a node: why it never admits a request; empty: it does
  gateway::nodes_port* nodes = nullptr;  ///< the head's; outlives every call of its gateway
};

class actor_port final : public gateway::port {
 public:
  actor_port(caf::actor_system& system, port_deps deps, std::uint64_t id_seed);
  ~actor_port() override;

  void submit(msg<schema::Request> request, std::shared_ptr<gateway::stream> to) override;
  void credit(request_id id, std::uint32_t chunks) override;
  void cancel(request_id id) override;
  request_id next_id() override { return ids_.fetch_add(1, std::memory_order_relaxed); }
  void models(std::function<void(std::vector<gateway::model_row>)> reply) override;
  void status(std::function<void(msg<schema::ClusterStatus>)> reply) override;
  void events(std::uint32_t after,
              std::function<void(std::vector<msg<schema::Event>>)> reply) override;
  void metrics(std::function<void(std::string)> reply) override;
  void load_adapter(std::string name, std::string folder,
                    std::function<void(result<msg<schema::VersionRecord>>)> reply) override;
  void unload_adapter(std::string name,
                      std::function<void(result<msg<schema::VersionRecord>>)> reply) override;
  void drain(std::string node, bool again, std::chrono::milliseconds deadline,
             std::function<void(result<void>)> reply) override;
  void shutdown(std::function<void(result<void>)> reply) override;
  bool healthy() const override { return deps_.fault().empty(); }
  std::string health_text() const override;
  bool ready() const override { return deps_.ready() && deps_.answers_nobody.empty(); }
  std::string not_ready_text() const override {
    return deps_.answers_nobody.empty() ? port::not_ready_text() : deps_.answers_nobody;
  }
  gateway::site_port* site_store() override { return site_.get(); }
  gateway::federation_port* federation() override { return federation_.get(); }
  gateway::nodes_port* nodes() override { return deps_.nodes; }

  /// Ends what is still open, for this reason, and says how many there were.
  std::size_t end_all(const std::string& why);
  /// Drops every actor handle; afterwards requests are refused. Before the actor system ends.
  void close();

 private:
  struct live_bridges {
    std::mutex mutex;
    std::unordered_map<request_id, actors::bridge_actor> by_id;
    bool closed = false;
  };
  class entry;
  actors::bridge_actor find(request_id id) const;

  caf::actor_system& system_;
  port_deps deps_;
  std::atomic<request_id> ids_;
  std::unique_ptr<site_gateway> site_;              // null: no store here
  std::unique_ptr<federation_gateway> federation_;  // null: nothing to ask
  std::shared_ptr<live_bridges> live_ = std::make_shared<live_bridges>();
};

}  // namespace collm::deploy
