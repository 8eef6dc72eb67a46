@0xd019eff766c435cd;
# Events: what the dashboard, the admin API and the status verb show. One-way, sampled, bounded.
#
# Each process's telemetry actor makes one Snapshot a slot (1 s). A node's travels to the head in
# Session.beat; the head joins
# them to one ClusterStatus. As JSON (capnp's own mapping: 64-bit integers are strings, so
# everything that a page computes
# with is 32-bit or float) both are served by GET /admin/v1/status and, with Event lines, by GET
# /admin/v1/events.
using Cxx = import "/capnp/c++.capnp";
using Registry = import "registry.capnp";
$Cxx.namespace("collm::schema");

struct ActorStatus {
  name @0 :Text;                # "engine", "replica", "router", ...
  id @1 :Text;                  # "edge-a/0"; empty where there is one a process
  mailbox @2 :UInt32;           # messages waiting when it last finished one
  busyShare @3 :Float32;        # of the last slot, 0 to 1
  processed @4 :Float64;        # messages since start
  failures @5 :UInt32;          # errors and exceptions that reached the actor
  unexpected @6 :UInt32;        # messages that it does not know
  restarts @7 :UInt32;
  slowestMs @8 :Float32;        # longest handler of the last slot
}

struct ReplicaStatus {
  name @0 :Text;                # "edge-a/0"
  queued @1 :UInt32;
  running @2 :UInt32;
  kvBlocksFree @3 :UInt32;
  kvBlocksTotal @4 :UInt32;
  tokensPerSecond @5 :Float32;  # produced, last slot
  promptTokensPerSecond @6 :Float32;
  prefixHitShare @7 :Float32;   # prompt tokens found in the cache, since start
  stepMs @8 :Float32;           # mean of the last slot
  heartbeatAgeMs @9 :UInt32;    # age of the engine loop's last turn
  preemptions @10 :UInt32;
  trainingShare @11 :Float32;   # of its time that training may take, 0 to 1
  trainingTokensPerSecond @12 :Float32;   # that reached an optimizer step, last ten slots
  unitMs @13 :Float32;          # of the last slot, spent in training units
}

struct ResidentVersion {
  adapter @0 :Text;
  number @1 :UInt32;
  state @2 :Registry.VersionState;
  pins @3 :UInt32;              # running requests that hold it
  bytes @4 :Float64;
  digest @5 :Text;
}

struct LedgerEntry {
  name @0 :Text;                # "base", "kv", "versions", "activations", "buffers"
  bytes @1 :Float64;
  budget @2 :Float64;           # 0: not bounded apart
  shared @3 :Bool;              # one copy a machine
}

struct RequestCounts {
  arrived @0 :Float64;
  answered @1 :Float64;         # finished by themselves
  refused @2 :Float64;          # rejected before anything was computed
  failed @3 :Float64;           # broken off by a fault of ours
  cancelled @4 :Float64;        # the client went away, slow readers included
  inFlight @5 :UInt32;
}

struct Snapshot {
  node @0 :Text;
  site @1 :Text;
  pid @2 :UInt32;
  uptimeMs @3 :Float64;
  actors @4 :List(ActorStatus);
  replicas @5 :List(ReplicaStatus);
  versions @6 :List(ResidentVersion);
  ledger @7 :List(LedgerEntry);
  requests @8 :RequestCounts;
  tokensPerSecond @9 :Float32;
  ttftMsP50 @10 :Float32;       # of the last 60 s
  ttftMsP99 @11 :Float32;
  tpotMsP50 @12 :Float32;
  tpotMsP99 @13 :Float32;
  sloAttainment @14 :Float32;   # of the last 60 s; 1 without requests
  kernelPath @15 :Text;
  residentBytes @16 :Float64;   # of the process, as the system counts it
  draining @17 :Bool;
  httpAddress @18 :Text;
  traffic @19 :List(VersionTraffic);   # the eight newest versions of each adapter
}

struct VersionTraffic {
  # What requests of this process met of a version; its head judges canaries by it.
  adapter @0 :Text;
  number @1 :UInt32;
  answers @2 :Float64;          # since the process started, bad ones included
  bad @3 :Float64;              # late against the SLO, or broken off by a fault of ours
  notFinite @4 :Float64;        # of the bad ones: logits held NaN or infinity
  requestsPerSecond @5 :Float32;  # mean of the last 60 s
  open @6 :Float64;             # answers that run now
  late @7 :Float64;             # of the open ones: beyond what was promised, bad whatever comes
  site @8 :Text;                # that clients asked for, at the head; empty: none, or at a node
}

enum NodeState { starting @0; serving @1; lost @2; restarting @3; draining @4; stopped @5; }

struct NodeStatus {
  name @0 :Text;
  site @1 :Text;
  state @2 :NodeState;
  restarts @3 :UInt32;
  beatAgeMs @4 :UInt32;         # since the last beat; 4294967295: never
  reason @5 :Text;              # of the last loss
  snapshot @6 :Snapshot;        # the last one received
  missing @7 :List(Text);
  # "assistant@3": versions that serve by the registry and that this node cannot be asked for
}

struct ClusterStatus {
  cluster @0 :Text;
  uptimeMs @1 :Float64;
  version @2 :Text;             # of the product
  baseName @3 :Text;
  baseDigest @4 :Text;
  precision @5 :Text;
  head @6 :Snapshot;            # on a node's own gateway: that node, and nodes is empty
  nodes @7 :List(NodeStatus);
  versions @8 :List(Registry.VersionRecord);
  inactive @9 :List(Text);      # parts of the manifest that are validated and not active yet
  sloTtftMs @10 :UInt32;
  sloTpotMs @11 :UInt32;
}

enum EventLevel { info @0; warning @1; error @2; }

struct Event {
  seq @0 :UInt32;               # rises by one; a gap = events that were dropped
  ageMs @1 :UInt32;
  level @2 :EventLevel;
  node @3 :Text;
  kind @4 :Text;
  # "node_lost", "node_joined", "version_loaded", "engine_restarted", ...
  message @5 :Text;
}
