// The memory ledger: used against what was declared, what is mapped once counted once.
import { bytes, plural } from "../format";
import type { ClusterStatus } from "../status";
import { ledgerRows, type LedgerRow } from "../summary";
import { Bar, Empty, Section, Table, type Column } from "./parts";

function Used({ row }: { row: LedgerRow }) {
  if (row.budget <= 0) return <>{bytes(row.used)}</>;
  return (
    <Bar share={row.used / row.budget} high={1.001}>
      {bytes(row.used)}
    </Bar>
  );
}

function holdersOf(row: LedgerRow): string {
  if (row.shared)
    return `one copy, mapped by ${plural(row.holders.length, "process", "processes")}`;
  return row.holders.map((holder) => `${holder.node} ${bytes(holder.bytes)}`).join(" · ");
}

const columns: readonly Column<LedgerRow>[] = [
  { title: "Part", text: true, cell: (row) => row.name },
  {
    title: "Used",
    cell: (row) => <Used row={row} />,
    alarm: (row) => row.budget > 0 && row.used > row.budget,
  },
  { title: "Budget", cell: (row) => (row.budget > 0 ? bytes(row.budget) : "not bounded apart") },
  { title: "Where", text: true, cell: holdersOf },
];

export function Ledger({ status }: { status: ClusterStatus }) {
  const rows = ledgerRows(status);
  const sum = (pick: (row: LedgerRow) => number) =>
    rows.reduce((total, row) => total + pick(row), 0);
  return (
    <Section id="memory" title="Memory ledger">
      {rows.length === 0 ? (
        <Empty>No process has reported its memory yet.</Empty>
      ) : (
        <Table
          label="Memory ledger"
          columns={columns}
          rows={rows}
          keyOf={(row) => row.name}
          foot={["All", bytes(sum((row) => row.used)), bytes(sum((row) => row.budget)), ""]}
        />
      )}
    </Section>
  );
}
