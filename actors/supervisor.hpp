// The supervisor, one on the head: who has joined, who is lost, which process is started again and
// when; the cluster's status.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "actors/site_router.hpp"

namespace collm::actors {

/// A node that the plan places; `process` false: it lives in the head's process, or elsewhere.
struct planned_node {
  std::string name, site;
  bool process = true;
  bool answers = true;            ///< false: its replicas only train, and no request is sent there
  bool remote = false;            ///< started by somebody else: it may come and go
  std::string http_address = {};  ///< of its gateway; empty: it has any free port
};

struct supervisor_deps {
  std::string cluster, product_version, base_name, base_digest, precision;
  std::vector<planned_node> nodes;
  std::vector<std::string> inactive;
  double ttft_slo_ms = 2000, tpot_slo_ms = 120;
  /// Starts a node process; its end arrives as child_exit.
  std::function<result<std::int32_t>(const std::string& node, std::uint64_t incarnation)> launch;
  /// Ends a process that this supervisor started (SIGKILL).
  std::function<void(std::int32_t pid)> kill;
  /// No process of that node will come soon: nobody should wait at its gateway.
  std::function<void(const std::string& node)> away = [](const std::string&) {};
  telemetry_actor telemetry;  ///< the head's own
  registry_actor registry;
  site_router_actor ingress;
  std::vector<traffic_actor> traffic = {};  ///< who hears what nodes count of live requests
  /// Nodes that requests are sent to now, and nodes of this machine that serve or only train; each
  /// slot.
  std::function<void(std::uint32_t answering, std::uint32_t own)> on_serving;
  meter_ptr counts;
  std::chrono::milliseconds slot{200};
  double lost_after_ms = 3000;    ///< silence after which a joined node counts as lost
  double start_grace_ms = 60000;  ///< a started process must join within
  double back_off_ms = 500;       ///< first wait before a restart; doubles
  double back_off_max_ms = 10000;
  double stable_ms = 30000;  ///< serving for so long resets the back-off
  /// A node that joined gets requests once its report shows a replica and it serves what the
  /// registry says, or the latter after so long.
  double catch_up_ms = 10000;
  double compare_ms = 1000;  ///< how often a serving node is compared with the registry
  std::function<std::int64_t()> unix_time = {};  ///< s; empty: the machine's
};

struct supervisor_state {
  static inline const char* name = "supervisor";
  struct member {
    planned_node plan;
    schema::NodeState state = schema::NodeState::STARTING;
    std::uint64_t incarnation = 0;
    std::int32_t pid = 0;
    std::uint32_t restarts = 0;
    double started_ms = 0, joined_ms = -1, last_beat_ms = -1, restart_at_ms = -1, wait_ms = 0;
    double compared_ms = -1;
    bool comparing = false;
    bool again = false;                ///< drained only to be started anew
    bool killed = false;               ///< by this head, as it stayed silent
    std::vector<std::string> missing;  ///< versions that the registry says serve and it does not
    std::vector<caf::typed_response_promise<reply<void>>> drains;  ///< answered by its end
    std::string reason;
    router_actor router;
    node_actor control;
    telemetry_actor local;  ///< placement thread: asked each slot instead of beating
    msg<schema::Snapshot> snapshot;
  };
  std::map<std::string, member> nodes;
  double begun_ms = 0, last_slot_ms = -1;
  double heard_again_by_ms = 0;  ///< until then silence may be this head's own
  std::uint64_t incarnation_base = 0;
  msg<schema::VersionList> versions;
};

/// What GET /admin/v1/status shows; `head`: the head's own last snapshot. Where a gateway is says
/// the plan, for people send their keys there; a node is asked only where the plan cannot know, and
/// only one of this machine.
msg<schema::ClusterStatus> cluster_status(const supervisor_state& s, const supervisor_deps& deps,
                                          double now_ms, const msg<schema::Snapshot>& head);

/// supervisor_actor and the messages of its own process.
using head_supervisor_actor = supervisor_actor::extend<
    reacts_to<attach_atom, std::string, telemetry_actor>,  // a node in this process: its snapshots
    reacts_to<drain_atom>>;  // the cluster stops: nothing starts again

head_supervisor_actor::behavior_type supervisor_behavior(
    head_supervisor_actor::stateful_pointer<supervisor_state> self, supervisor_deps deps);

}  // namespace collm::actors
