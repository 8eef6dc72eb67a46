// The router of one node: fixes name@version and the replica of each request, then is out of the
// way; tokens never pass it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"

namespace collm::actors {

struct router_deps {
  std::string node;
  std::string base_name;  ///< what clients call the base: "smollm2-135m-instruct"
  meter_ptr counts;
  /// Share of the requests for an adapter's bare name that its canary answers, while there is one;
  /// not named: none.
  std::map<std::string, double> canary_shares = {};
};

struct router_state {
  static inline const char* name = "router";
  struct target {
    std::string name;
    replica_actor actor;
    replica_report_ptr last;
    std::uint32_t sent_tokens = 0;  ///< prompt tokens routed since the last report
  };
  std::vector<target> replicas;
  std::map<std::string, std::uint32_t> serving;               ///< what a bare name means
  std::map<std::string, std::uint32_t> canaries;              ///< beside what serves
  std::map<version_id, msg<schema::VersionRecord>> versions;  ///< that can be named
  std::vector<std::string> set_apart;                         ///< replicas that only train
  bool draining = false;
};

/// Adds a replica; sent once by the node after it spawned one. One that only trains (policy
/// static_split) gets no request.
struct add_replica {
  std::string name;
  replica_actor actor;
  bool only_trains = false;
};

using node_router_actor = router_actor::extend<reacts_to<add_replica>>;

node_router_actor::behavior_type router_behavior(
    node_router_actor::stateful_pointer<router_state> self, router_deps deps);

/// Why a node whose replicas only train answers nobody.
std::string only_trains(const std::string& node);

/// "assistant@3" to its parts; a name without number has number `none`.
struct model_name {
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  std::string adapter;
  std::uint32_t number = none;
};
result<model_name> parse_model_name(const std::string& text);

}  // namespace collm::actors

namespace collm {
template <>
struct local_message<actors::add_replica> : std::true_type {};
}  // namespace collm
