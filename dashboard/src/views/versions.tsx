// Adapter versions: what the registry knows, and which nodes hold it for how many running requests.
import { bytes, count, digest, duration } from "../format";
import type { ClusterStatus } from "../status";
import { versionRows, type VersionRow } from "../summary";
import { Badge, Empty, Section, Table, type Column } from "./parts";

function Holders({ row }: { row: VersionRow }) {
  if (row.holders.length === 0) return <>nowhere</>;
  return (
    <>
      {row.holders.map((holder, index) => (
        <span key={holder.node}>
          {index === 0 ? "" : " · "}
          {holder.node}
          {holder.state === row.state ? "" : ` (${holder.state})`} <b>{count(holder.pins)}</b>
        </span>
      ))}
    </>
  );
}

function parentOf(row: VersionRow): string {
  if (row.record === null || row.record.parent < 0) return "–";
  return `${row.adapter}@${row.record.parent}`;
}

const columns: readonly Column<VersionRow>[] = [
  { title: "Version", text: true, cell: (row) => `${row.adapter}@${row.number}` },
  { title: "State", text: true, cell: (row) => <Badge state={row.state} /> },
  {
    title: "Resident, pins",
    hint: "Nodes that hold it, and how many running requests hold it there",
    text: true,
    cell: (row) => <Holders row={row} />,
  },
  {
    title: "Digest",
    text: true,
    cell: (row) => <code title={row.digest}>{digest(row.digest)}</code>,
  },
  { title: "Parent", text: true, cell: parentOf },
  { title: "Source", text: true, cell: (row) => row.record?.source || "not in the registry" },
  { title: "Rank", cell: (row) => (row.record === null ? "–" : count(row.record.rank)) },
  { title: "Size", cell: (row) => bytes(row.bytes) },
  { title: "Age", cell: (row) => (row.record === null ? "–" : duration(row.record.ageMs)) },
];

export function Versions({ status }: { status: ClusterStatus }) {
  const rows = versionRows(status);
  return (
    <Section id="versions" title="Adapter versions">
      {rows.length === 0 ? (
        <Empty>No adapter is loaded: requests are answered by the base model alone.</Empty>
      ) : (
        <Table
          label="Adapter versions"
          columns={columns}
          rows={rows}
          keyOf={(row) => `${row.adapter}@${row.number}`}
        />
      )}
    </Section>
  );
}
