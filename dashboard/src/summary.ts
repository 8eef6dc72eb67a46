// What the page adds up from a status. Pure; a node that does not answer counts for nothing that is
// "now", and what is mapped once a machine is counted once.
import type {
  ClusterStatus,
  LedgerEntry,
  NodeStatus,
  RequestCounts,
  Snapshot,
  VersionRecord,
  VersionState,
} from "./status";

const noRequests: RequestCounts = {
  arrived: 0,
  answered: 0,
  refused: 0,
  failed: 0,
  cancelled: 0,
  inFlight: 0,
};

export function answers(node: NodeStatus): boolean {
  return node.snapshot !== null && (node.state === "serving" || node.state === "draining");
}

/** The nodes; on a node's own gateway, which knows only itself, that node. */
export function nodesOf(status: ClusterStatus): readonly NodeStatus[] {
  if (status.nodes.length > 0 || status.head === null || status.head.site === "") {
    return status.nodes;
  }
  const own = status.head;
  return [
    {
      name: own.node,
      site: own.site,
      state: own.draining ? "draining" : "serving",
      restarts: 0,
      beatAgeMs: 0,
      reason: "",
      snapshot: own,
      missing: [],
    },
  ];
}

/** The head's own process, where it is not itself shown as a node. */
export function headOf(status: ClusterStatus): Snapshot | null {
  return status.head !== null && status.head.site === "" ? status.head : null;
}

export interface SiteGroup {
  readonly site: string;
  readonly nodes: readonly NodeStatus[];
}

export function siteGroups(status: ClusterStatus): SiteGroup[] {
  const bySite = new Map<string, NodeStatus[]>();
  for (const node of nodesOf(status)) {
    const nodes = bySite.get(node.site) ?? [];
    nodes.push(node);
    bySite.set(node.site, nodes);
  }
  return [...bySite].map(([site, nodes]) => ({ site, nodes }));
}

export interface SiteSummary {
  /** Nodes that answer. */
  readonly live: number;
  readonly tokensPerSecond: number;
  readonly inFlight: number;
  /** Of the worst node; 0 where nothing was measured. */
  readonly ttftMsP99: number;
  readonly tpotMsP99: number;
  /** Of the worst node that had requests in the last minute; null: none had. */
  readonly sloAttainment: number | null;
}

function finite(value: number): number {
  return Number.isFinite(value) ? value : 0;
}

export function siteSummary(group: Pick<SiteGroup, "nodes">): SiteSummary {
  const snapshots = group.nodes.filter(answers).flatMap((node) => node.snapshot ?? []);
  const worst = (pick: (s: Snapshot) => number) =>
    Math.max(0, ...snapshots.map((s) => finite(pick(s))));
  const measured = snapshots.filter((s) => s.ttftMsP50 > 0 || s.sloAttainment < 1);
  return {
    live: snapshots.length,
    tokensPerSecond: snapshots.reduce((sum, s) => sum + finite(s.tokensPerSecond), 0),
    inFlight: snapshots.reduce((sum, s) => sum + (s.requests?.inFlight ?? 0), 0),
    ttftMsP99: worst((s) => s.ttftMsP99),
    tpotMsP99: worst((s) => s.tpotMsP99),
    sloAttainment: measured.length === 0 ? null : Math.min(...measured.map((s) => s.sloAttainment)),
  };
}

export interface RequestRow {
  readonly name: string;
  readonly site: string;
  readonly counts: RequestCounts;
}

export function requestRows(status: ClusterStatus): RequestRow[] {
  const rows = nodesOf(status).map((node) => ({
    name: node.name,
    site: node.site,
    counts: node.snapshot?.requests ?? noRequests,
  }));
  const head = headOf(status);
  if (head?.requests && (head.requests.arrived > 0 || head.requests.inFlight > 0)) {
    rows.push({ name: "head", site: "", counts: head.requests });
  }
  return rows;
}

export function requestTotal(rows: readonly RequestRow[]): RequestCounts {
  const sum = (pick: (counts: RequestCounts) => number) =>
    rows.reduce((total, row) => total + pick(row.counts), 0);
  return {
    arrived: sum((c) => c.arrived),
    answered: sum((c) => c.answered),
    refused: sum((c) => c.refused),
    failed: sum((c) => c.failed),
    cancelled: sum((c) => c.cancelled),
    inFlight: sum((c) => c.inFlight),
  };
}

export interface Holder {
  readonly node: string;
  readonly pins: number;
  readonly state: VersionState;
}

export interface VersionRow {
  readonly adapter: string;
  readonly number: number;
  readonly digest: string;
  readonly state: VersionState;
  readonly bytes: number;
  /** null: held by a node, and not (or no longer) in the registry that we see. */
  readonly record: VersionRecord | null;
  readonly holders: readonly Holder[];
}

/** Registry and nodes together: by adapter, newest version first. */
export function versionRows(status: ClusterStatus): VersionRow[] {
  const rows = new Map<string, VersionRow>();
  const key = (of: { adapter: string; number: number }) => `${of.adapter}@${of.number}`;
  for (const record of status.versions) {
    const { adapter, number, digest, state, bytes } = record;
    rows.set(key(record), { adapter, number, digest, state, bytes, record, holders: [] });
  }
  for (const node of nodesOf(status)) {
    if (!answers(node)) continue;
    for (const held of node.snapshot?.versions ?? []) {
      const { adapter, number, digest, state, bytes } = held;
      const row = rows.get(key(held)) ?? {
        adapter,
        number,
        digest,
        state,
        bytes,
        record: null,
        holders: [],
      };
      const holder = { node: node.name, pins: held.pins, state: held.state };
      rows.set(key(held), { ...row, holders: [...row.holders, holder] });
    }
  }
  return [...rows.values()].sort(
    (a, b) => a.adapter.localeCompare(b.adapter) || b.number - a.number,
  );
}

export interface LedgerRow {
  readonly name: string;
  readonly shared: boolean;
  readonly used: number;
  readonly budget: number;
  /** Who holds it, and how much as that node sees it. */
  readonly holders: readonly { readonly node: string; readonly bytes: number }[];
}

function addEntry(row: LedgerRow | undefined, entry: LedgerEntry, node: string): LedgerRow {
  const before = row ?? { name: entry.name, shared: entry.shared, used: 0, budget: 0, holders: [] };
  const join = (a: number, b: number) => (before.shared ? Math.max(a, b) : a + b);
  return {
    ...before,
    used: join(before.used, finite(entry.bytes)),
    budget: join(before.budget, finite(entry.budget)),
    holders: [...before.holders, { node, bytes: finite(entry.bytes) }],
  };
}

/** The ledger over all processes: a shared entry is one copy, so its largest sight counts. */
export function ledgerRows(status: ClusterStatus): LedgerRow[] {
  const rows = new Map<string, LedgerRow>();
  const head = headOf(status);
  const sources = nodesOf(status)
    .filter(answers)
    .map((node) => ({ name: node.name, snapshot: node.snapshot }));
  if (head !== null) sources.push({ name: "head", snapshot: head });
  for (const { name, snapshot } of sources) {
    for (const entry of snapshot?.ledger ?? []) {
      rows.set(entry.name, addEntry(rows.get(entry.name), entry, name));
    }
  }
  return [...rows.values()];
}
