// The shapes of status.ts against the golden snapshot that C++ writes: neither knows a field that
// the other does not.
import assert from "node:assert/strict";
import { test } from "node:test";
import golden from "../browser/data/status.json";
import type { Shape } from "../../dashboard/src/shape";
import {
  clusterEvent,
  clusterStatus,
  neverMs,
  readEvent,
  readStatus,
} from "../../dashboard/src/status";

function differences(shape: Shape<unknown>, value: unknown, place: string): string[] {
  if (shape.kind === "list") {
    const item = shape.parts["item"];
    assert.ok(item && Array.isArray(value), place);
    return value.flatMap((one, index) => differences(item, one, `${place}[${index}]`));
  }
  if (shape.kind === "leaf") return [];
  const given = value as Record<string, unknown>;
  const strangers = Object.keys(given).filter((name) => !(name in shape.parts));
  const found = Object.entries(shape.parts).flatMap(([name, part]) =>
    name in given ? differences(part, given[name], `${place}.${name}`) : [],
  );
  return [...strangers.map((name) => `${place}.${name} is not in status.ts`), ...found];
}

type Parts = Shape<unknown>["parts"];

/** Notes which fields of which struct occur in the value; a struct may stand in several places. */
function note(shape: Shape<unknown>, value: unknown, seen: Map<Parts, Set<string>>): void {
  const item = shape.parts["item"];
  if (shape.kind === "list" && item) (value as unknown[]).forEach((one) => note(item, one, seen));
  if (shape.kind !== "struct") return;
  const fields = seen.get(shape.parts) ?? new Set();
  seen.set(shape.parts, fields);
  for (const [name, part] of Object.entries(shape.parts)) {
    const below = (value as Record<string, unknown>)[name];
    if (below === undefined) continue;
    fields.add(name);
    note(part, below, seen);
  }
}

/** Fields of status.ts that occur nowhere in the value. */
function unseen(value: unknown): string[] {
  const seen = new Map<Parts, Set<string>>();
  note(clusterStatus, value, seen);
  return [...seen].flatMap(([parts, fields]) =>
    Object.keys(parts)
      .filter((name) => !fields.has(name))
      .map((name) => `${name} is not in the schema`),
  );
}

test("every field of the golden snapshot is in status.ts", () => {
  assert.deepEqual(differences(clusterStatus, golden, "status"), []);
});

test("every field of status.ts is in the golden snapshot", () => {
  assert.deepEqual(unseen(golden), []);
});

test("both comparisons see a planted difference", () => {
  const planted = { ...golden, surplus: 1 };
  assert.deepEqual(differences(clusterStatus, planted, "status"), [
    "status.surplus is not in status.ts",
  ]);
  const { cluster: _, ...less } = golden;
  assert.deepEqual(unseen(less), ["cluster is not in the schema"]);
});

test("the golden snapshot reads as what C++ put in", () => {
  const status = readStatus(JSON.stringify(golden));
  assert.equal(status.cluster, "demo");
  assert.equal(status.nodes.length, 3);
  const [kitchen, workshop, lost] = status.nodes;
  assert.equal(kitchen?.snapshot?.actors[3]?.processed, 1_234_567);
  assert.equal(kitchen?.snapshot?.requests?.answered, 12_345);
  assert.equal(workshop?.state, "draining");
  assert.ok(Number.isNaN(workshop?.snapshot?.tpotMsP99), "NaN travels as text");
  assert.equal(lost?.snapshot, null);
  assert.equal(lost?.beatAgeMs, neverMs);
  assert.equal(status.versions[1]?.bytes, 4_823_449, "64-bit integers travel as text");
  assert.equal(status.versions[0]?.parent, -1);
});

test("an event reads, and unset text is empty", () => {
  const json = '{"seq":7,"ageMs":1200,"level":"warning","node":"edge-a","kind":"node_lost"}';
  const event = readEvent(json);
  assert.equal(event.seq, 7);
  assert.equal(event.level, "warning");
  assert.equal(event.message, "");
  assert.deepEqual(Object.keys(clusterEvent.parts).length, 6);
});

test("a value of the wrong kind is refused with its place", () => {
  const bad = structuredClone(golden) as { nodes: { restarts: unknown }[] };
  bad.nodes[2]!.restarts = "many";
  assert.throws(() => readStatus(JSON.stringify(bad)), {
    name: "ShapeError",
    message: 'status.nodes[2].restarts: wanted a number, got "many"',
  });
  assert.throws(() => readStatus("[]"), /status: wanted an object, got \[\]/);
  assert.throws(() => readStatus("{}"), /status\.uptimeMs: wanted a number, got nothing/);
});

test("what a newer peer adds does not break the page", () => {
  const newer = structuredClone(golden) as unknown as {
    later: number;
    nodes: { state: unknown }[];
  };
  newer.later = 1;
  newer.nodes[0]!.state = 9;
  assert.equal(readStatus(JSON.stringify(newer)).nodes[0]?.state, "#9");
});
