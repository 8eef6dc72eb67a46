// What became of every request, per node.
import { count } from "../format";
import type { ClusterStatus, RequestCounts } from "../status";
import { requestRows, requestTotal, type RequestRow } from "../summary";
import { Empty, Section, Table, type Column } from "./parts";

const kinds: readonly (readonly [keyof RequestCounts, string, string, boolean])[] = [
  ["inFlight", "In flight", "Admitted, not finished", false],
  ["arrived", "Arrived", "Since the node started", false],
  ["answered", "Answered", "Finished by themselves", false],
  ["refused", "Refused", "Rejected before anything was computed", false],
  ["failed", "Failed", "Broken off by a fault of ours", true],
  ["cancelled", "Cancelled", "The client went away, slow readers included", false],
];

const columns: readonly Column<RequestRow>[] = [
  { title: "Node", text: true, cell: (row) => row.name },
  { title: "Site", text: true, cell: (row) => row.site || "–" },
  ...kinds.map(([key, title, hint, bad]) => ({
    title,
    hint,
    cell: (row: RequestRow) => count(row.counts[key]),
    alarm: (row: RequestRow) => bad && row.counts[key] > 0,
  })),
];

export function Requests({ status }: { status: ClusterStatus }) {
  const rows = requestRows(status);
  const total = requestTotal(rows);
  const foot =
    rows.length < 2 ? {} : { foot: ["All", "", ...kinds.map(([key]) => count(total[key]))] };
  return (
    <Section id="requests" title="Requests" note="since each node started">
      {rows.length === 0 ? (
        <Empty>No node has reported yet, so no request was counted.</Empty>
      ) : (
        <Table
          label="Requests by node"
          columns={columns}
          rows={rows}
          keyOf={(row) => row.name}
          {...foot}
        />
      )}
    </Section>
  );
}
