// The head's router: cluster ingress. A request names its site and goes to a serving node of it,
// never to another site's.
#pragma once

#include <map>
#include <string>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"

namespace collm::actors {

/// A node's way in; an empty router: the node is gone.
struct node_route {
  std::string node, site;
  router_actor router;
};

using site_router_actor = router_actor::extend<reacts_to<node_route>>;

struct site_router_state {
  static inline const char* name = "site_router";
  struct way {
    std::string site;
    router_actor router;
    std::uint64_t sent = 0;
  };
  std::map<std::string, way> nodes;
  bool draining = false;
};

site_router_actor::behavior_type site_router_behavior(
    site_router_actor::stateful_pointer<site_router_state> self, std::vector<std::string> sites,
    meter_ptr counts);

}  // namespace collm::actors

namespace collm {
template <>
struct local_message<actors::node_route> : std::true_type {};
}  // namespace collm
