// What the event stream carries: messages/events.capnp and registry.capnp as they look in JSON.
// The golden snapshot (tests/browser/data/status.json, from C++) holds these shapes to the schema.
import { flag, list, maybe, number, oneOf, struct, text, type Read } from "./shape";

const actor = struct({
  name: text,
  id: text,
  mailbox: number,
  busyShare: number,
  processed: number,
  failures: number,
  unexpected: number,
  restarts: number,
  slowestMs: number,
});

const replica = struct({
  name: text,
  queued: number,
  running: number,
  kvBlocksFree: number,
  kvBlocksTotal: number,
  tokensPerSecond: number,
  promptTokensPerSecond: number,
  prefixHitShare: number,
  stepMs: number,
  heartbeatAgeMs: number,
  preemptions: number,
  trainingShare: number,
  trainingTokensPerSecond: number,
  unitMs: number,
});

const versionState = oneOf([
  "candidate",
  "canary",
  "serving",
  "draining",
  "retired",
  "rejected",
  "rolledBack",
]);

const residentVersion = struct({
  adapter: text,
  number,
  state: versionState,
  pins: number,
  bytes: number,
  digest: text,
});

const ledgerEntry = struct({ name: text, bytes: number, budget: number, shared: flag });

const requestCounts = struct({
  arrived: number,
  answered: number,
  refused: number,
  failed: number,
  cancelled: number,
  inFlight: number,
});

const versionTraffic = struct({
  adapter: text,
  number,
  answers: number,
  bad: number,
  notFinite: number,
  requestsPerSecond: number,
  open: number,
  late: number,
  site: text,
});

const snapshot = struct({
  node: text,
  site: text,
  pid: number,
  uptimeMs: number,
  actors: list(actor),
  replicas: list(replica),
  versions: list(residentVersion),
  ledger: list(ledgerEntry),
  requests: maybe(requestCounts),
  tokensPerSecond: number,
  ttftMsP50: number,
  ttftMsP99: number,
  tpotMsP50: number,
  tpotMsP99: number,
  sloAttainment: number,
  kernelPath: text,
  residentBytes: number,
  draining: flag,
  httpAddress: text,
  traffic: list(versionTraffic),
});

const nodeState = oneOf(["starting", "serving", "lost", "restarting", "draining", "stopped"]);

const nodeStatus = struct({
  name: text,
  site: text,
  state: nodeState,
  restarts: number,
  beatAgeMs: number,
  reason: text,
  snapshot: maybe(snapshot),
  missing: list(text),
});

const versionRecord = struct({
  adapter: text,
  number,
  digest: text,
  parent: number,
  state: versionState,
  rank: number,
  bytes: number,
  source: text,
  ageMs: number,
  folder: text,
});

export const clusterStatus = struct({
  cluster: text,
  uptimeMs: number,
  version: text,
  baseName: text,
  baseDigest: text,
  precision: text,
  head: maybe(snapshot),
  nodes: list(nodeStatus),
  versions: list(versionRecord),
  inactive: list(text),
  sloTtftMs: number,
  sloTpotMs: number,
});

export const clusterEvent = struct({
  seq: number,
  ageMs: number,
  level: oneOf(["info", "warning", "error"]),
  node: text,
  kind: text,
  message: text,
});

export type ActorStatus = Read<typeof actor>;
export type ReplicaStatus = Read<typeof replica>;
export type ResidentVersion = Read<typeof residentVersion>;
export type LedgerEntry = Read<typeof ledgerEntry>;
export type RequestCounts = Read<typeof requestCounts>;
export type Snapshot = Read<typeof snapshot>;
export type NodeState = Read<typeof nodeState>;
export type NodeStatus = Read<typeof nodeStatus>;
export type VersionState = Read<typeof versionState>;
export type VersionRecord = Read<typeof versionRecord>;
export type ClusterStatus = Read<typeof clusterStatus>;
export type ClusterEvent = Read<typeof clusterEvent>;

/** `beatAgeMs` of a node that was never heard. */
export const neverMs = 4_294_967_295;

export function readStatus(json: string): ClusterStatus {
  return clusterStatus.read(JSON.parse(json), "status");
}

export function readEvent(json: string): ClusterEvent {
  return clusterEvent.read(JSON.parse(json), "event");
}
