import assert from "node:assert/strict";
import { test } from "node:test";
import golden from "../browser/data/status.json";
import { readStatus, type ClusterStatus } from "../../dashboard/src/status";
import * as summary from "../../dashboard/src/summary";

const status = readStatus(JSON.stringify(golden));

function changed(change: (raw: typeof golden) => void): ClusterStatus {
  const raw = structuredClone(golden);
  change(raw);
  return readStatus(JSON.stringify(raw));
}

test("nodes are grouped by site, in the order of the status", () => {
  const groups = summary.siteGroups(status);
  assert.deepEqual(
    groups.map((g) => [g.site, g.nodes.map((n) => n.name)]),
    [
      ["kitchen", ["edge-a"]],
      ["workshop", ["edge-b", "edge-c"]],
    ],
  );
});

test("a lost node counts for nothing that is now", () => {
  const lost = changed((raw) => {
    raw.nodes[1]!.state = "lost";
  });
  const workshop = summary.siteSummary(summary.siteGroups(lost)[1]!);
  assert.equal(workshop.live, 0);
  assert.equal(workshop.tokensPerSecond, 0);
  assert.equal(workshop.sloAttainment, null);
  const both = summary.siteSummary({ nodes: summary.nodesOf(status) });
  assert.equal(both.tokensPerSecond, 286.5);
  assert.equal(both.inFlight, 22);
});

test("latencies are of the worst node, and NaN is not the worst", () => {
  const both = summary.siteSummary({ nodes: summary.nodesOf(status) });
  assert.equal(both.ttftMsP99, 1480);
  assert.equal(both.tpotMsP99, 98.5);
  assert.ok(Math.abs((both.sloAttainment ?? 0) - 0.9975) < 1e-6);
});

test("attainment is not claimed where no request was measured", () => {
  const idle = changed((raw) => {
    for (const node of raw.nodes) {
      if (node.snapshot) Object.assign(node.snapshot, { ttftMsP50: 0, sloAttainment: 1 });
    }
  });
  assert.equal(summary.siteSummary({ nodes: idle.nodes }).sloAttainment, null);
});

test("requests are counted per node and in all", () => {
  const rows = summary.requestRows(status);
  assert.deepEqual(
    rows.map((row) => row.name),
    ["edge-a", "edge-b", "edge-c"],
  );
  assert.equal(rows[2]?.counts.arrived, 0);
  assert.equal(summary.requestTotal(rows).answered, 24_690);
  assert.equal(summary.requestTotal(rows).failed, 2);
});

test("requests that the head took in are a row of their own", () => {
  const ingress = changed((raw) => {
    const requests = { arrived: 5, answered: 4, refused: 0, failed: 0, cancelled: 0, inFlight: 1 };
    Object.assign(raw.head, { requests });
  });
  assert.equal(summary.requestRows(ingress)[3]?.name, "head");
});

test("versions join the registry with the nodes that hold them, newest first", () => {
  const rows = summary.versionRows(status);
  assert.deepEqual(
    rows.map((row) => row.number),
    [2, 1],
  );
  assert.deepEqual(
    rows[0]?.holders.map((h) => [h.node, h.pins]),
    [
      ["edge-a", 10],
      ["edge-b", 10],
    ],
  );
  assert.equal(rows[1]?.state, "retired");
  assert.equal(rows[1]?.holders[0]?.state, "draining");
});

test("a version that only a node knows is shown too", () => {
  const unknown = changed((raw) => {
    raw.versions.pop();
  });
  const row = summary.versionRows(unknown).find((one) => one.number === 2);
  assert.equal(row?.record, null);
  assert.equal(row?.holders.length, 2);
});

test("the ledger counts the shared base once and sums the rest", () => {
  const rows = new Map(summary.ledgerRows(status).map((row) => [row.name, row]));
  const mib = 1024 * 1024;
  assert.equal(rows.get("base")?.used, 138 * mib);
  assert.equal(rows.get("base")?.budget, 140 * mib);
  assert.equal(rows.get("base")?.holders.length, 2);
  assert.equal(rows.get("kv")?.used, 422 * mib);
  assert.equal(rows.get("kv")?.budget, 1024 * mib);
  assert.equal(rows.get("versions")?.budget, 0);
});

test("on a node's own gateway that node is shown, and no head", () => {
  const alone = changed((raw) => {
    Object.assign(raw, { head: raw.nodes[0]!.snapshot, nodes: [] });
  });
  assert.deepEqual(
    summary.nodesOf(alone).map((node) => node.name),
    ["edge-a"],
  );
  assert.equal(summary.headOf(alone), null);
  assert.equal(summary.headOf(status)?.pid, 4100);
});
