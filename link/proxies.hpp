// The head's stand-ins for a joined node's router and node actor: same interfaces, answers over the
// link. They hold no connection, only a way to it; once it is gone they answer `unavailable`. An
// actor, not the loop, runs them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "actors/interfaces.hpp"
#include "link/courier.hpp"
#include "link/loop.hpp"

namespace collm::link {

using node_proxy = actors::node_actor::extend<caf::reacts_to<delivery>>;
using router_proxy = actors::router_actor::extend<caf::reacts_to<delivery>>;
using registry_proxy = actors::registry_actor::extend<caf::reacts_to<delivery>>;

template <class T>
using node_owed = std::shared_ptr<owed<T, node_proxy>>;

/// What the loop does for the proxies of one node. Loop thread.
class node_calls {
 public:
  virtual ~node_calls() = default;
  virtual void generate(const msg<schema::Request>& request, const actors::sink_actor& sink) = 0;
  virtual void cancel(request_id id, const actors::sink_actor& sink) = 0;
  virtual void announce(const msg<schema::VersionRecord>& record) = 0;
  virtual void versions(std::function<void(result<msg<schema::VersionList>>)> reply) = 0;
  virtual void load(const std::string& adapter, const std::string& folder,
                    node_owed<msg<schema::VersionRecord>> reply) = 0;
  virtual void unload(const version_id& id, node_owed<void> reply) = 0;
  virtual void drain(std::uint32_t deadline_ms, node_owed<void> reply) = 0;
};

/// The way there: dead once the connection is. Any thread.
struct way_to_node {
  std::shared_ptr<inbox> loop;
  std::weak_ptr<node_calls> calls;
  std::string node;
};

actors::router_actor spawn_router_proxy(caf::actor_system& system, way_to_node way);
actors::node_actor spawn_node_proxy(caf::actor_system& system, way_to_node way);

}  // namespace collm::link
