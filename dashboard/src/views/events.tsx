// What happened, newest first.
import { clock, plural } from "../format";
import { logMax, type LogLine } from "../state";
import { Badge, Empty, Section, Table, type Column } from "./parts";

const columns: readonly Column<LogLine>[] = [
  { title: "Time", text: true, cell: (line) => clock(line.atMs) },
  { title: "Level", text: true, cell: (line) => <Badge state={line.level} /> },
  { title: "Node", text: true, cell: (line) => line.node || "head" },
  { title: "Event", text: true, cell: (line) => line.kind.replaceAll("_", " ") },
  { title: "What", text: true, cell: (line) => <What line={line} /> },
];

function What({ line }: { line: LogLine }) {
  return (
    <>
      {line.message}
      {line.missed === 0 ? null : (
        <em> ({plural(line.missed, "event")} before this one did not arrive)</em>
      )}
    </>
  );
}

export function Events({ log }: { log: readonly LogLine[] }) {
  return (
    <Section
      id="events"
      title="Events"
      note={log.length < logMax ? "newest first" : `the last ${logMax}, newest first`}
    >
      {log.length === 0 ? (
        <Empty>Nothing has happened since the cluster came up.</Empty>
      ) : (
        <Table
          label="Events"
          columns={columns}
          rows={log}
          keyOf={(line) => `${line.atMs} ${line.seq}`}
        />
      )}
    </Section>
  );
}
