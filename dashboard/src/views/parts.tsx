// The few pieces that all views share: a section, a table, a bar, a state.
import type { ComponentChildren } from "preact";

export function Section(props: {
  id: string;
  title: string;
  note?: string;
  children: ComponentChildren;
}) {
  return (
    <section aria-labelledby={props.id}>
      <h2 id={props.id}>
        {props.title} {props.note ? <small>{props.note}</small> : null}
      </h2>
      {props.children}
    </section>
  );
}

export interface Column<Row> {
  readonly title: string;
  /** What the short title means, for hovering and for screen readers. */
  readonly hint?: string;
  readonly text?: boolean;
  readonly cell: (row: Row) => ComponentChildren;
  /** Draws the eye: this number should be zero. */
  readonly alarm?: (row: Row) => boolean;
}

interface TableProps<Row> {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
  readonly foot?: readonly ComponentChildren[];
}

/** Scrolls sideways inside itself where the screen is narrow; focusable, so that keys can do it. */
export function Table<Row>({ label, columns, rows, keyOf, foot }: TableProps<Row>) {
  return (
    <div class="table" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c.title} scope="col" class={c.text ? "text" : ""} title={c.hint}>
                {c.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)}>{columns.map((c, index) => cellOf(c, row, index))}</tr>
          ))}
        </tbody>
        {foot ? <Foot cells={foot} /> : null}
      </table>
    </div>
  );
}

function cellOf<Row>(column: Column<Row>, row: Row, index: number) {
  const classes = [column.text ? "text" : "", column.alarm?.(row) ? "alarm" : ""].join(" ").trim();
  const content = column.cell(row);
  return index === 0 ? (
    <th key={column.title} scope="row" class={classes}>
      {content}
    </th>
  ) : (
    <td key={column.title} class={classes}>
      {content}
    </td>
  );
}

function Foot({ cells }: { cells: readonly ComponentChildren[] }) {
  return (
    <tfoot>
      <tr>
        {cells.map((cell, index) =>
          index === 0 ? (
            <th scope="row" class="text">
              {cell}
            </th>
          ) : (
            <td>{cell}</td>
          ),
        )}
      </tr>
    </tfoot>
  );
}

interface BarProps {
  readonly share: number;
  /** From here on the bar is coloured as high. */
  readonly high: number;
  readonly children: ComponentChildren;
}

/** A share as a bar beside its words. The words carry the meaning; the bar is for the eye. */
export function Bar({ share, high, children }: BarProps) {
  const width = Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0;
  const fill = share >= high ? "fill high" : "fill";
  return (
    <span class="bar">
      <span class="track" aria-hidden="true">
        <span class={fill} style={{ width: `${(width * 100).toFixed(1)}%` }} />
      </span>
      <span class="value">{children}</span>
    </span>
  );
}

const tones: Record<string, string> = {
  serving: "good",
  canary: "good",
  info: "calm",
  lost: "bad",
  error: "bad",
  rejected: "bad",
  warning: "warn",
  starting: "warn",
  restarting: "warn",
  draining: "warn",
  rolledBack: "warn",
};

export function Badge({ state }: { state: string }) {
  return (
    <span class={`badge ${tones[state] ?? "calm"}`}>
      {state === "rolledBack" ? "rolled back" : state}
    </span>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** A name and its value, several in a row. */
export function Facts({ of }: { of: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
