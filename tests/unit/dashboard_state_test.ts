import assert from "node:assert/strict";
import { test } from "node:test";
import golden from "../browser/data/status.json";
import { addPoint, columns, pointsMax, sitesOf, type History } from "../../dashboard/src/history";
import { initialState, logMax, reduce, type State } from "../../dashboard/src/state";
import { readStatus, type ClusterEvent } from "../../dashboard/src/status";

const status = readStatus(JSON.stringify(golden));

function event(seq: number, ageMs = 0): ClusterEvent {
  return { seq, ageMs, level: "info", node: "edge-a", kind: "node_joined", message: `pid ${seq}` };
}

function withEvents(...seqs: number[]): State {
  return seqs.reduce(
    (state, seq) => reduce(state, { kind: "event", event: event(seq), atMs: 1_000 }),
    initialState,
  );
}

test("a status makes the page live and adds a point", () => {
  const state = reduce(initialState, { kind: "status", status, atMs: 5_000 });
  assert.equal(state.connection.kind, "live");
  assert.equal(state.history.length, 1);
  assert.deepEqual(sitesOf(state.history), ["kitchen", "workshop"]);
});

test("events are kept newest first, with the time when they happened", () => {
  const first = reduce(initialState, { kind: "event", event: event(1, 400), atMs: 1_000 });
  const state = reduce(first, { kind: "event", event: event(2), atMs: 1_100 });
  assert.deepEqual(
    state.log.map((line) => [line.seq, line.atMs]),
    [
      [2, 1_100],
      [1, 600],
    ],
  );
});

test("an event that came already is not shown twice", () => {
  assert.equal(withEvents(1, 2, 2, 1).log.length, 2);
});

test("a gap says how many are missing; the first event is no gap", () => {
  assert.deepEqual(
    withEvents(90, 94).log.map((line) => line.missed),
    [3, 0],
  );
});

test("the log is bounded", () => {
  const seqs = Array.from({ length: logMax + 1 }, (_, n) => n + 1);
  const state = withEvents(...seqs);
  assert.equal(state.log.length, logMax);
  assert.equal(state.log.at(-1)?.seq, 2);
});

test("a loss keeps the time at which it began, and what was known", () => {
  const live = reduce(initialState, { kind: "status", status, atMs: 1_000 });
  const lost = reduce(live, { kind: "lost", why: "silence", atMs: 6_000 });
  const again = reduce(lost, { kind: "lost", why: "no route", atMs: 9_000 });
  assert.deepEqual(again.connection, { kind: "lost", sinceMs: 6_000, why: "no route" });
  assert.equal(again.status, status);
  assert.equal(reduce(again, { kind: "tick", atMs: 12_000 }).nowMs, 12_000);
  assert.equal(reduce(again, { kind: "open", atMs: 13_000 }).connection.kind, "live");
});

test("another process behind the address numbers its events anew", () => {
  const before = reduce(withEvents(500), { kind: "status", status, atMs: 1_000 });
  const same = reduce(before, { kind: "status", status, atMs: 2_000 });
  assert.equal(same.lastSeq, 500);
  const reborn = readStatus(JSON.stringify({ ...golden, head: { ...golden.head, pid: 9 } }));
  const after = reduce(same, { kind: "status", status: reborn, atMs: 3_000 });
  assert.equal(after.lastSeq, 0);
  assert.equal(after.life, 1);
  assert.equal(reduce(after, { kind: "event", event: event(1), atMs: 3_100 }).log.length, 2);
});

test("the history is bounded", () => {
  let history: History = [];
  for (let n = 0; n <= pointsMax; ++n) history = addPoint(history, status, n * 1_000);
  assert.equal(history.length, pointsMax);
  assert.equal(history[0]?.atMs, 1_000);
});

test("columns have a gap where nothing was measured", () => {
  const silent = readStatus(
    JSON.stringify({ ...golden, nodes: golden.nodes.map((node) => ({ ...node, state: "lost" })) }),
  );
  const history = addPoint(addPoint([], status, 1_000), silent, 2_000);
  assert.deepEqual(columns(history, ["kitchen", "workshop"], "tokensPerSecond"), [
    [1, 2],
    [143.25, null],
    [143.25, null],
  ]);
  assert.deepEqual(columns(history, ["workshop"], "tpotMs")[1], [null, null]);
});
