// Who says what to whom: every typed actor and every message between actors of one process, in one
// file. What crosses a process crosses it as the same msg<T> over the link (messages/link.capnp).
// Requests are admitted with credit; tokens flow engine -> sink; everything else is small and
// bounded by its sender.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "actors/caf.hpp"
#include "coordinator/latency_model.hpp"
#include "engine/executor.hpp"
#include "messages/cluster.capnp.h"
#include "messages/events.capnp.h"
#include "messages/ids.hpp"
#include "messages/inference.capnp.h"
#include "messages/registry.capnp.h"
#include "messages/result.hpp"

namespace collm::actors {

using caf::reacts_to;
using caf::replies_to;
using caf::typed_actor;

// -- verbs
using status_atom = caf::atom_constant<caf::atom("status")>;
using cancel_atom = caf::atom_constant<caf::atom("cancel")>;
using credit_atom = caf::atom_constant<caf::atom("credit")>;
using load_atom = caf::atom_constant<caf::atom("load")>;
using unload_atom = caf::atom_constant<caf::atom("unload")>;
using step_atom = caf::atom_constant<caf::atom("step")>;
using slot_atom = caf::atom_constant<caf::atom("slot")>;
using list_atom = caf::atom_constant<caf::atom("list")>;
using drain_atom = caf::atom_constant<caf::atom("drain")>;
using done_atom = caf::atom_constant<caf::atom("done")>;
using route_atom = caf::atom_constant<caf::atom("route")>;
using join_atom = caf::atom_constant<caf::atom("join")>;
using leave_atom = caf::atom_constant<caf::atom("leave")>;
using attach_atom = caf::atom_constant<caf::atom("attach")>;
using beat_atom = caf::atom_constant<caf::atom("beat")>;
using exited_atom = caf::atom_constant<caf::atom("exited")>;
using events_atom = caf::atom_constant<caf::atom("events")>;
using metrics_atom = caf::atom_constant<caf::atom("metrics")>;
using promote_atom = caf::atom_constant<caf::atom("promote")>;
using rollback_atom = caf::atom_constant<caf::atom("rollback")>;

// -- values that stay inside a process

/// Outcome of a request between actors: result<T> as a message. Expected failures travel in it,
/// never as caf::error.
template <class T>
using reply = std::shared_ptr<const result<T>>;
template <class T>
reply<T> make_reply(result<T> r) {
  return std::make_shared<const result<T>>(std::move(r));
}

/// What one finished request was like; the sink's owner sends it to telemetry once a request.
struct request_outcome {
  enum class kind : std::uint8_t { answered, refused, failed, cancelled };
  kind how = kind::answered;
  std::string reason;       ///< finish reason ("stop", "length") or the errc's name
  std::string adapter;      ///< name without version; empty: base
  bool interactive = true;  ///< class of the tenant; false: batch
  std::uint32_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, max_tokens = 0,
                choices = 1;
  double ttft_ms = 0, e2e_ms = 0, tpot_ms = 0;         ///< from arrival at the gateway; 0: no token
  double queue_ms = 0, prefill_ms = 0, decode_ms = 0;  ///< the engine's own stamps
  std::vector<float> itl_ms;                           ///< gaps between token chunks, at most 4096
};

/// What an engine did since its last report (one slot), its view of load and of the resident
/// versions.
struct replica_report {
  std::string replica;
  std::uint32_t queued = 0, running = 0, kv_free = 0, kv_total = 0, preemptions = 0;
  std::uint64_t prompt_tokens = 0, generated_tokens = 0, steps = 0;  ///< since start
  std::uint64_t prefix_queries = 0, prefix_hits = 0;                 ///< since start
  double step_ms_mean = 0, tokens_per_s = 0, prompt_tokens_per_s = 0;
  std::uint32_t backlog_tokens = 0;             ///< prompt tokens admitted and not yet computed
  double prefill_tokens_per_ms = 0;             ///< sustained beside its decodes, 0: not known yet
  coordinator::step_costs costs;                ///< the engine's model of its steps
  std::uint32_t block_tokens = 16;              ///< tokens of a KV block
  std::uint64_t ended_choices = 0;              ///< since start
  std::vector<std::uint32_t> iteration_tokens;  ///< rows of the slot's steps, at most 1024
  engine::memory_view memory;
  struct version {
    version_id id;
    std::uint32_t pins = 0;
    std::uint64_t bytes = 0;
    std::string digest;
  };
  std::vector<version> versions;
};
using replica_report_ptr = std::shared_ptr<const replica_report>;

/// What a child process's end looked like.
struct child_exit {
  std::string node;
  std::int32_t pid = 0, status = 0;
};

// -- actors

/// Where an answer goes: the gateway's bridge or a link adapter. One a request.
using sink_actor =
    typed_actor<reacts_to<msg<schema::Accepted>>,    // pinned; from now on no other replica may
                                                     // answer
                reacts_to<msg<schema::TokenChunk>>,  // tokens of one step of one choice
                reacts_to<msg<schema::Finish>>,      // last
                reacts_to<msg<schema::Reject>>>;     // instead of all above

/// One a replica, detached: steps while it has work.
using engine_actor = typed_actor<
    reacts_to<msg<schema::Request>, version_id, sink_actor>,  // from its replica, which holds
                                                              // credit for it
    reacts_to<cancel_atom, request_id, sink_actor>,  // the sink names the request: ids repeat
                                                     // across gateways
    replies_to<load_atom, version_id, engine::adapter_ptr>::with<reply<void>>,  // between two steps
    replies_to<unload_atom, version_id>::with<reply<void>>,  // at once or when the last pin ends
    reacts_to<step_atom>,                                    // to itself
    reacts_to<slot_atom>,                                    // to itself
    replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// One an engine: admission queue, credit, retry-after.
using replica_actor =
    typed_actor<reacts_to<msg<schema::Request>, version_id, sink_actor>,
                reacts_to<cancel_atom, request_id, sink_actor>,
                reacts_to<done_atom, request_id, sink_actor>,  // engine -> replica: gives the
                                                               // credit back
                reacts_to<replica_report_ptr>,                 // engine -> replica, each slot
                replies_to<load_atom, version_id, engine::adapter_ptr>::with<reply<void>>,
                replies_to<unload_atom, version_id>::with<reply<void>>,
                replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// One a node, and on the head one that routes by site to the nodes' routers.
using router_actor =
    typed_actor<reacts_to<msg<schema::Request>, sink_actor>,  // fixes name@version and replica
                reacts_to<cancel_atom, request_id, sink_actor>,
                reacts_to<msg<schema::VersionRecord>>,  // new requests by bare name go to this
                                                        // version (or: it is gone)
                reacts_to<replica_report_ptr>,
                replies_to<list_atom>::with<msg<schema::VersionList>>,  // versions that can be
                                                                        // named here
                reacts_to<drain_atom>,                                  // refuses from now on
                replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// One a cluster, on the head; on nodes a proxy over the link with the same interface.
using registry_actor = typed_actor<
    replies_to<msg<schema::Register>>::with<reply<msg<schema::VersionRecord>>>,
    replies_to<list_atom>::with<reply<msg<schema::VersionList>>>,
    replies_to<promote_atom, version_id>::with<reply<msg<schema::VersionRecord>>>,
    replies_to<rollback_atom, std::string>::with<reply<msg<schema::VersionRecord>>>,
    replies_to<unload_atom, std::string>::with<reply<msg<schema::VersionRecord>>>,  // retires what
                                                                                    // serves by
                                                                                    // this name
    replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// One a process: adapter loading, watchdog over its engines, drain. On the head a proxy a joined
/// node.
using node_actor = typed_actor<
    replies_to<load_atom, std::string,
               std::string>::with<reply<msg<schema::VersionRecord>>>,  // name, PEFT folder
    replies_to<unload_atom, version_id>::with<reply<void>>,    // retired by the registry: it drains
    replies_to<drain_atom, std::uint32_t>::with<reply<void>>,  // deadline ms; answers when idle
    reacts_to<slot_atom>, replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// One a process: counts, histograms, the event ring, one Snapshot a slot.
using telemetry_actor =
    typed_actor<reacts_to<request_outcome>, reacts_to<replica_report_ptr>,
                reacts_to<msg<schema::Event>>,  // from anybody; seq is set here
                reacts_to<slot_atom>,
                replies_to<list_atom>::with<msg<schema::Snapshot>>,  // the last one
                replies_to<events_atom,
                           std::uint32_t>::with<std::vector<msg<schema::Event>>>,  // seq > argument
                replies_to<metrics_atom>::with<std::string>,  // Prometheus text
                replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// One, head: who has joined, who is lost, starts node processes again with back-off.
using supervisor_actor = typed_actor<
    reacts_to<join_atom, msg<schema::Hello>, router_actor, node_actor>,  // from the link; proxies
                                                                         // die with the connection
    reacts_to<leave_atom, std::string, std::uint64_t, std::string>,  // name, incarnation, reason
    reacts_to<beat_atom, std::string, std::uint64_t, msg<schema::Snapshot>>, reacts_to<child_exit>,
    reacts_to<slot_atom>, replies_to<list_atom>::with<msg<schema::ClusterStatus>>,
    replies_to<drain_atom, std::string>::with<reply<void>>,  // node name
    replies_to<load_atom, std::string,
               std::string>::with<reply<msg<schema::VersionRecord>>>,  // on every node
    replies_to<unload_atom, std::string>::with<reply<msg<schema::VersionRecord>>>,
    replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

}  // namespace collm::actors

namespace collm {
template <class T>
struct local_message<std::shared_ptr<const result<T>>> : std::true_type {};
template <class T>
struct local_message<std::vector<msg<T>>> : std::true_type {};
template <>
struct local_message<version_id> : std::true_type {};
template <>
struct local_message<engine::adapter_ptr> : std::true_type {};
template <>
struct local_message<actors::request_outcome> : std::true_type {};
template <>
struct local_message<actors::replica_report_ptr> : std::true_type {};
template <>
struct local_message<actors::child_exit> : std::true_type {};
}  // namespace collm
