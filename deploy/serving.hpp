// What serves in one process for one node: engines, replicas, router, node and telemetry actors,
// and the node's gateways. Used by a node process and, for placement thread, by the head's process.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "deploy/actor_port.hpp"
#include "deploy/plan.hpp"
#include "engine/engine.hpp"
#include "gateway/http_server.hpp"
#include "gateway/prompt.hpp"
#include "link/link.hpp"

namespace collm::deploy {

/// The model as every process opens it: engine's mapping and the gateway's text side.
struct opened_model {
  engine::base_ptr base;                           ///< null where no engine runs
  std::optional<gateway::prompt_encoder> encoder;  ///< always there once opened
  std::string base_digest, tokenizer_digest;
};
/// `with_engine` false: reads only the vocabulary and digests. cancelled: `over` held before it was
/// packed.
result<opened_model> open_model(const spawn_plan& plan, const std::filesystem::path& cache_dir,
                                bool with_engine, const std::function<bool()>& over);

class serving_node {
 public:
  struct outside {
    actors::registry_actor registry;
    actors::aggregator_actor aggregator = {};                 ///< the head's; null: nothing learns
    actors::coordinator_actor coordinator = {};               ///< the head's, for jobs; the same
    std::function<void()> request_stop;                       ///< an admin asked for shutdown
    std::function<void(const std::string&)> wedged;           ///< ends the process
    std::function<void(const msg<schema::Event>&)> on_event;  ///< log, and on to the head
    /// Requests that came over the link and are not answered yet.
    std::function<std::uint32_t()> of_head = [] { return 0u; };
    std::optional<int> listener = {};  ///< of its HTTP gateway, open already; the gateway owns it
  };
  static result<std::unique_ptr<serving_node>> start(caf::actor_system& system, link::loop& loop,
                                                     const spawn_plan& plan, const node_plan& node,
                                                     const opened_model& model, outside to);
  ~serving_node();
  actors::router_actor router() const;
  actors::node_actor node() const;
  actors::telemetry_actor telemetry() const;
  std::string http_address() const;
  /// Not ready from now on; what runs goes on until then.
  void drain(std::chrono::milliseconds deadline);
  /// A drain was asked for, and nothing runs any more or what runs cannot be ended.
  bool drained() const;
  /// Closes the gateways, then ends the actors and drops every handle.
  void stop();

 private:
  struct impl;
  explicit serving_node(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

/// A gateway's Cap'n Proto port; null where the manifest names none.
result<std::unique_ptr<link::native_server>> open_native(link::loop& loop, const spawn_plan& plan,
                                                         const std::optional<address>& at,
                                                         const opened_model& model,
                                                         std::shared_ptr<gateway::port> port);

/// spdlog's line for one event.
void log_event(const msg<schema::Event>& event);
/// spdlog's line for what the link tells; a warning is none while the process stops.
void log_link(schema::EventLevel level, const std::string& text, bool stopping);

/// What all gateways of a plan have alike: bounds, TLS, audit trail, the tenants of `site`; the
/// head's, without one, knows all of them. `name`: the node's, or "head".
result<gateway::http_options> gateway_options(const spawn_plan& plan, const std::string& name,
                                              const address& at, const std::optional<tls_spec>& tls,
                                              const std::optional<std::string>& site);

}  // namespace collm::deploy
