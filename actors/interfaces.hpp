// Who says what to whom: every typed actor and every message between actors of one process, in one
// file. What crosses a process crosses it as the same msg<T> over the link (messages/link.capnp).
// Requests are admitted with credit; tokens flow engine -> sink; everything else is small and
// bounded by its sender.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/caf.hpp"
#include "coordinator/latency_model.hpp"
#include "coordinator/prefill.hpp"
#include "engine/executor.hpp"
#include "engine/training.hpp"
#include "messages/adaptation.capnp.h"
#include "messages/cluster.capnp.h"
#include "messages/events.capnp.h"
#include "messages/federation.capnp.h"
#include "messages/ids.hpp"
#include "messages/inference.capnp.h"
#include "messages/registry.capnp.h"
#include "messages/result.hpp"
#include "store/site_data.hpp"
#include "store/version_store.hpp"

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
using train_atom = caf::atom_constant<caf::atom("train")>;
using grant_atom = caf::atom_constant<caf::atom("grant")>;
using fetch_atom = caf::atom_constant<caf::atom("fetch")>;
using import_atom = caf::atom_constant<caf::atom("import")>;
using remember_atom = caf::atom_constant<caf::atom("remember")>;
using feedback_atom = caf::atom_constant<caf::atom("feedback")>;
using count_atom = caf::atom_constant<caf::atom("count")>;
using explain_atom = caf::atom_constant<caf::atom("explain")>;
using replay_atom = caf::atom_constant<caf::atom("replay")>;
using close_atom = caf::atom_constant<caf::atom("close")>;
using move_atom = caf::atom_constant<caf::atom("move")>;

// -- values that stay inside a process

/// Outcome of a request between actors: result<T> as a message. Expected failures travel in it,
/// never as caf::error.
template <class T>
using reply = std::shared_ptr<const result<T>>;
template <class T>
reply<T> make_reply(result<T> r) {
  return std::make_shared<const result<T>>(std::move(r));
}

/// A version answers a request for the bare name; told again with the first token, and where all
/// is computed and only its reader is late. The sink's owner sends it to telemetry, before the
/// outcome with the same key.
struct request_began {
  std::uint64_t key = 0;  ///< actor id of the sink
  std::string site;       ///< that its client asked for; empty: at a node's own gateway, or any
  std::string adapter;
  std::uint32_t version = 0;
  double arrival_ms = 0, first_ms = -1;  ///< on the actors' clock; -1: no token yet
  std::uint32_t tokens_left_max = 0;     ///< after the first one
  bool computed = false;                 ///< nothing more to wait for
};

/// What one finished request was like; the sink's owner sends it to telemetry once a request.
struct request_outcome {
  enum class kind : std::uint8_t { answered, refused, failed, cancelled };
  kind how = kind::answered;
  std::string reason;         ///< finish reason ("stop", "length") or the errc's name
  std::string site;           ///< as in its request_began
  std::string adapter;        ///< name without version; empty: base
  std::uint32_t version = 0;  ///< of the adapter
  bool by_number = false;     ///< the request named the version, not the adapter alone
  bool not_finite = false;    ///< failed: the version's logits held NaN or infinity
  bool interactive = true;    ///< class of the tenant; false: batch
  std::uint32_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, max_tokens = 0,
                choices = 1;
  double ttft_ms = 0, e2e_ms = 0, tpot_ms = 0;         ///< from arrival at the gateway; 0: no token
  double queue_ms = 0, prefill_ms = 0, decode_ms = 0;  ///< the engine's own stamps
  std::vector<float> itl_ms;                           ///< gaps between token chunks, at most 4096
  std::uint64_t key = 0;                               ///< of its request_began
};

/// What an engine did since its last report (one slot), its view of load and of the resident
/// versions.
struct replica_report {
  std::string replica;
  std::uint32_t queued = 0, running = 0, kv_free = 0, kv_total = 0, preemptions = 0;
  std::uint64_t prompt_tokens = 0, generated_tokens = 0, steps = 0;  ///< since start
  std::uint64_t prefix_queries = 0, prefix_hits = 0;                 ///< since start
  double step_ms_mean = 0, tokens_per_s = 0, prompt_tokens_per_s = 0;
  std::uint32_t backlog_tokens = 0;    ///< prompt tokens admitted and not yet computed
  double prefill_tokens_per_ms = 0;    ///< of short prompts beside its decodes, 0: not known yet
  coordinator::prefill_state prefill;  ///< of the same prompts, at the moment of the report
  coordinator::step_costs costs;       ///< the engine's model of its steps
  std::uint32_t block_tokens = 16;     ///< tokens of a KV block
  std::uint64_t ended_choices = 0;     ///< since start
  std::vector<std::uint32_t> iteration_tokens;  ///< rows of the slot's steps, at most 1024
  engine::memory_view memory;
  struct version {
    version_id id;
    std::uint32_t pins = 0;
    std::uint64_t bytes = 0;
    std::string digest;
  };
  std::vector<version> versions;
  /// What it trained between its serving steps.
  struct training_figures {
    double share = 0, budget_share = 1, credit_ms = 0;  ///< x, s_tr and c of now
    double violations = 0,
           felt = 1;              ///< of its requests: share that units made late; xi of felt_part
    std::uint32_t jobs = 0;       ///< that wait or run
    std::uint32_t units = 0;      ///< of the slot
    double unit_ms = 0;           ///< of the slot, what jobs take to begin included
    double tokens_per_s = 0;      ///< that reached an optimizer step, over ten slots
    double longest_bound_ms = 0;  ///< of the slot's units
    double unit_ms_total = 0;     ///< since start
    std::uint64_t units_total = 0, tokens = 0, failed_jobs = 0;       ///< since start
    std::uint64_t turns = 0, no_time = 0, no_credit = 0, yields = 0;  ///< since start
    std::uint64_t long_units = 0;  ///< since start: units whose bound was above maxUnit
    std::uint32_t window_tokens = 0, head_tokens = 0;  ///< unit sizes that fit maxUnit; 0: not
                                                       ///< measured yet, or none fits
  };
  training_figures training;
};
using replica_report_ptr = std::shared_ptr<const replica_report>;

/// Work on a shadow's trainer. The engine's thread alone touches the trainer, between two serving
/// steps: it calls `begin` (which starts a batch or an evaluation, or copies numbers out), then
/// runs units until next() is empty, and answers with the report of the last one.
struct training_job {
  std::shared_ptr<engine::trainer> on;
  std::function<result<void>(engine::trainer&)> begin;
};
using training_job_ptr = std::shared_ptr<const training_job>;

using site_rows = std::shared_ptr<const std::vector<store::site_row>>;
using site_counts = std::array<std::uint64_t, store::data_sets_count>;

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
    replies_to<train_atom, training_job_ptr>::with<reply<engine::unit_report>>,  // in slack only,
                                                                                 // one after the
                                                                                 // other
    reacts_to<grant_atom, double, bool>,  // share of time for units, and whether a round is open
    reacts_to<drain_atom, std::string>,   // all that runs ends, for this reason
    reacts_to<step_atom>,                 // to itself
    reacts_to<slot_atom>,                 // to itself
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
                replies_to<train_atom, training_job_ptr>::with<reply<engine::unit_report>>,
                reacts_to<grant_atom, double, bool>,  // both: on to its engine
                reacts_to<drain_atom, std::string>,   // a drain's deadline: what it holds ends, for
                                                      // this reason
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

/// What rounds ask of the registry, on the head alone. Told again, each does nothing more.
using head_registry_actor = registry_actor::extend<
    replies_to<msg<schema::Register>, store::version_lineage>::with<
        reply<msg<schema::VersionRecord>>>,  // a round's candidate and what it is made of
    replies_to<promote_atom, version_id, std::uint32_t, std::string>::with<
        reply<msg<schema::VersionRecord>>>,  // in place of that number alone (else conflict), with
                                             // the gate's verdict
    replies_to<move_atom, version_id, schema::VersionState, std::string>::with<
        reply<msg<schema::VersionRecord>>>>;  // canary, rejected, rolled back; with the verdict

/// One a process: adapter loading, watchdog over its engines, drain. On the head a proxy a joined
/// node.
using node_actor = typed_actor<
    replies_to<load_atom, std::string,
               std::string>::with<reply<msg<schema::VersionRecord>>>,  // name, PEFT folder
    replies_to<unload_atom, version_id>::with<reply<void>>,    // retired by the registry: it drains
    replies_to<drain_atom, std::uint32_t>::with<reply<void>>,  // deadline ms, then what runs is
                                                               // ended; answers when idle
    reacts_to<slot_atom>, replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// One a node with data, detached: the site's examples. Nothing of what it answers leaves the
/// process but through a client of this node's own gateway.
using site_data_actor = typed_actor<
    replies_to<list_atom, store::data_set, std::int64_t, std::uint32_t>::with<
        reply<site_rows>>,  // rows of a set with a number above .., at most ..
    replies_to<list_atom, store::data_set, std::string, std::uint32_t, std::uint32_t>::with<
        reply<site_rows>>,  // in the order of a key, from place .., so many
    replies_to<count_atom>::with<reply<site_counts>>,
    replies_to<import_atom, std::string, std::string>::with<reply<store::import_report>>,  // name,
                                                                                           // text
    reacts_to<remember_atom, std::string, store::served_question>,  // request id
    replies_to<feedback_atom, std::string, std::string, std::string>::with<
        reply<store::data_set>>,  // request id, tenant that tells it, right answer
    replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// One a replica and adapter: trains the shadow of the adapter as its aggregator asks, in units
/// that its engine runs between serving steps.
using shadow_actor =
    typed_actor<reacts_to<slot_atom>, replies_to<list_atom>::with<msg<schema::ShadowState>>,
                replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// One a federated adapter, on the head: the round and its journal. On nodes a proxy over the link,
/// which goes by the adapter that the message names.
using aggregator_actor =
    typed_actor<replies_to<msg<schema::ShadowState>>::with<reply<msg<schema::Work>>>,
                replies_to<msg<schema::UpdateChunk>>::with<reply<msg<schema::UploadPlace>>>,
                replies_to<msg<schema::Scores>>::with<reply<void>>,
                replies_to<msg<schema::FactorsWanted>>::with<reply<msg<schema::FactorsChunk>>>,
                replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// A job is a federation over the sites that hold the adapter. One, head; on nodes a proxy.
using coordinator_actor =
    typed_actor<replies_to<msg<schema::JobRequest>>::with<reply<msg<schema::Job>>>,
                replies_to<list_atom>::with<reply<msg<schema::JobList>>>,
                replies_to<cancel_atom, std::string>::with<reply<msg<schema::Job>>>,
                replies_to<status_atom>::with<msg<schema::ActorStatus>>>;

/// What the head itself asks an aggregator: for operators, and by the coordinator's plan.
struct round_plan {
  struct member {
    std::string client;
    std::uint32_t steps = 0;  ///< optimizer steps, 1 or more
  };
  std::vector<member> members;
};
using head_aggregator_actor = aggregator_actor::extend<
    replies_to<round_plan>::with<reply<std::uint32_t>>,          // opens a round: its number;
                                                                 // conflict: one is open
    replies_to<close_atom, std::string>::with<reply<void>>,      // who asks
    replies_to<list_atom>::with<reply<msg<schema::RoundList>>>,  // all rounds of the adapter
    replies_to<explain_atom, version_id>::with<reply<msg<schema::Explanation>>>,
    replies_to<replay_atom, std::uint32_t,
               std::string>::with<reply<msg<schema::Replay>>>,  // round, client left out
    reacts_to<msg<schema::Snapshot>>,  // of every process with a gateway, each slot: for canaries
    reacts_to<slot_atom>>;

/// What aggregators tell the coordinator: shadows as they told themselves, and rounds that ended.
/// An aggregator tells where it is (attach) and its last rounds when it starts.
using head_coordinator_actor =
    coordinator_actor::extend<reacts_to<attach_atom, std::string, head_aggregator_actor>,
                              reacts_to<msg<schema::ShadowState>>, reacts_to<msg<schema::Round>>,
                              reacts_to<slot_atom>>;

/// Whoever judges canaries: what a process has counted of live traffic, by its Snapshot.
using traffic_actor = typed_actor<reacts_to<msg<schema::Snapshot>>>;

/// One a process: counts, histograms, the event ring, one Snapshot a slot.
using telemetry_actor =
    typed_actor<reacts_to<request_began>, reacts_to<request_outcome>, reacts_to<replica_report_ptr>,
                reacts_to<msg<schema::VersionRecord>>,  // what a version became on this node
                reacts_to<msg<schema::Event>>,          // from anybody; seq is set here
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
    replies_to<drain_atom, std::string, bool, std::uint32_t>::with<reply<void>>,  // node name,
                                                                                  // started anew?,
                                                                                  // deadline ms
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
struct local_message<actors::request_began> : std::true_type {};
template <>
struct local_message<actors::request_outcome> : std::true_type {};
template <>
struct local_message<actors::replica_report_ptr> : std::true_type {};
template <>
struct local_message<actors::child_exit> : std::true_type {};
template <>
struct local_message<actors::training_job_ptr> : std::true_type {};
template <>
struct local_message<actors::round_plan> : std::true_type {};
template <>
struct local_message<actors::head_aggregator_actor> : std::true_type {};
template <>
struct local_message<schema::VersionState> : std::true_type {};
template <>
struct local_message<store::version_lineage> : std::true_type {};
template <>
struct local_message<store::data_set> : std::true_type {};
template <>
struct local_message<store::served_question> : std::true_type {};
}  // namespace collm
