// Sites, their nodes, and the actors in each.
import { bytes, count, duration, latency, plural, rate, share } from "../format";
import {
  neverMs,
  type ActorStatus,
  type ClusterStatus,
  type NodeStatus,
  type ReplicaStatus,
  type Snapshot,
} from "../status";
import { headOf, siteGroups, siteSummary, type SiteGroup } from "../summary";
import { Badge, Bar, Empty, Facts, Section, Table, type Column } from "./parts";

const replicaColumns: readonly Column<ReplicaStatus>[] = [
  { title: "Replica", text: true, cell: (r) => r.name },
  { title: "Queued", hint: "Requests that wait for admission", cell: (r) => count(r.queued) },
  { title: "Running", cell: (r) => count(r.running) },
  {
    title: "KV blocks",
    hint: "In use, of all",
    cell: (r) => {
      const used = r.kvBlocksTotal - r.kvBlocksFree;
      return (
        <Bar
          share={used / r.kvBlocksTotal}
          high={0.95}
        >{`${count(used)} of ${count(r.kvBlocksTotal)}`}</Bar>
      );
    },
  },
  { title: "Tokens/s", hint: "Produced, in the last second", cell: (r) => rate(r.tokensPerSecond) },
  {
    title: "Prompt/s",
    hint: "Prompt tokens computed, in the last second",
    cell: (r) => rate(r.promptTokensPerSecond),
  },
  {
    title: "Prefix hits",
    hint: "Prompt tokens found in the cache, since start",
    cell: (r) => share(r.prefixHitShare),
  },
  {
    title: "Step",
    hint: "Mean time of a serving step in the last second",
    cell: (r) => latency(r.stepMs),
  },
  {
    title: "Preempted",
    hint: "Sequences evicted and computed again",
    cell: (r) => count(r.preemptions),
  },
  {
    title: "Training",
    hint: "Tokens/s that reached an optimizer step, and time spent in units in the last second",
    cell: (r) =>
      r.trainingShare === 0 && r.unitMs === 0
        ? "–"
        : `${rate(r.trainingTokensPerSecond)} · ${latency(r.unitMs)}`,
  },
  {
    title: "Last turn",
    hint: "Age of the engine loop's last turn",
    cell: (r) => `${count(r.heartbeatAgeMs)} ms`,
    alarm: (r) => r.heartbeatAgeMs > 5_000,
  },
];

const actorColumns: readonly Column<ActorStatus>[] = [
  {
    title: "Actor",
    text: true,
    cell: (a) =>
      a.id === "" ? (
        a.name
      ) : (
        <>
          {a.name} <span class="dim">{a.id}</span>
        </>
      ),
  },
  { title: "Mailbox", hint: "Messages waiting", cell: (a) => count(a.mailbox) },
  {
    title: "Busy",
    hint: "Share of the last second spent in handlers",
    cell: (a) => (
      <Bar share={a.busyShare} high={0.9}>
        {share(a.busyShare)}
      </Bar>
    ),
  },
  { title: "Processed", hint: "Messages since start", cell: (a) => count(a.processed) },
  {
    title: "Slowest",
    hint: "Longest handler of the last second",
    cell: (a) => latency(a.slowestMs),
  },
  {
    title: "Failures",
    hint: "Errors and exceptions that reached the actor",
    cell: (a) => count(a.failures),
    alarm: (a) => a.failures > 0,
  },
  {
    title: "Unexpected",
    hint: "Messages that it does not know",
    cell: (a) => count(a.unexpected),
    alarm: (a) => a.unexpected > 0,
  },
  { title: "Restarts", cell: (a) => count(a.restarts), alarm: (a) => a.restarts > 0 },
];

function lastHeard(node: NodeStatus): string {
  return node.beatAgeMs === neverMs ? "never" : `${duration(node.beatAgeMs)} ago`;
}

function Process({ snapshot }: { snapshot: Snapshot }) {
  return (
    <>
      {snapshot.replicas.length === 0 ? null : (
        <Table
          label={`Replicas of ${snapshot.node}`}
          columns={replicaColumns}
          rows={snapshot.replicas}
          keyOf={(r) => r.name}
        />
      )}
      {snapshot.actors.length === 0 ? (
        <Empty>No actor has reported yet.</Empty>
      ) : (
        <Table
          label={`Actors of ${snapshot.node}`}
          columns={actorColumns}
          rows={snapshot.actors}
          keyOf={(a) => `${a.name} ${a.id}`}
        />
      )}
    </>
  );
}

function factsOf(snapshot: Snapshot): (readonly [string, string])[] {
  return [
    ["Address", snapshot.httpAddress || "–"],
    ["Process", String(snapshot.pid)],
    ["Up for", duration(snapshot.uptimeMs)],
    ["Resident", bytes(snapshot.residentBytes)],
  ];
}

function Node({ node }: { node: NodeStatus }) {
  const { snapshot } = node;
  const silent = node.state === "lost" || node.state === "restarting" || node.state === "stopped";
  return (
    <details class={silent ? "node silent" : "node"} open>
      <summary>
        <h3>{node.name}</h3> <Badge state={node.state} />{" "}
        <span class="dim">
          heard {lastHeard(node)}
          {node.restarts === 0 ? "" : `, ${plural(node.restarts, "restart")}`}
        </span>
      </summary>
      {node.reason === "" ? null : <p class="note">Last loss: {node.reason}</p>}
      {node.missing.map((what) => (
        <p class="note">Lacks {what}</p>
      ))}
      {snapshot === null ? (
        <Empty>This node has not reported yet.</Empty>
      ) : (
        <>
          <Facts of={factsOf(snapshot)} />
          {silent ? <p class="note">The tables show its last report.</p> : null}
          <Process snapshot={snapshot} />
        </>
      )}
    </details>
  );
}

function siteNote(group: SiteGroup): string {
  const sum = siteSummary(group);
  if (sum.live === 0) return `${plural(group.nodes.length, "node")}, none answers`;
  const slo =
    sum.sloAttainment === null
      ? "no requests in the last minute"
      : `SLO met ${share(sum.sloAttainment)}`;
  return [
    plural(group.nodes.length, "node"),
    `${count(sum.inFlight)} in flight`,
    `${rate(sum.tokensPerSecond)} tokens/s`,
    slo,
  ].join(" · ");
}

export function Sites({ status }: { status: ClusterStatus }) {
  const groups = siteGroups(status);
  const head = headOf(status);
  return (
    <>
      {groups.length === 0 ? (
        <Section id="sites" title="Sites">
          <Empty>
            No node has joined yet. The head starts them from the manifest; its events say how far
            it is.
          </Empty>
        </Section>
      ) : null}
      {groups.map((group) => (
        <Section
          key={group.site}
          id={`site-${group.site}`}
          title={`Site ${group.site}`}
          note={siteNote(group)}
        >
          {group.nodes.map((node) => (
            <Node key={node.name} node={node} />
          ))}
        </Section>
      ))}
      {head === null ? null : (
        <Section
          id="head"
          title="Head"
          note="admin, registry and this page; serves no tokens itself"
        >
          <details class="node" open>
            <summary>
              <h3>{head.node || "head"}</h3>
            </summary>
            <Facts of={factsOf(head)} />
            <Process snapshot={head} />
          </details>
        </Section>
      )}
    </>
  );
}
