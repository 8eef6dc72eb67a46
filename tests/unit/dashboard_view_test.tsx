// The views over the golden snapshot, rendered to text: what a person reads, not how it looks.
import assert from "node:assert/strict";
import { test } from "node:test";
import { renderToString } from "preact-render-to-string";
import golden from "../browser/data/status.json";
import { initialState, reduce, type State } from "../../dashboard/src/state";
import { readStatus } from "../../dashboard/src/status";
import { Page } from "../../dashboard/src/views/page";

const status = readStatus(JSON.stringify(golden));
const live = reduce(initialState, { kind: "status", status, atMs: 1_000 });

function html(state: State): string {
  return renderToString(<Page state={state} unlock={() => undefined} />);
}

/** Text as it is read: tags are borders between words. */
function words(state: State): string {
  return html(state)
    .replace(/<[^>]*>/g, " ")
    .replace(/&amp;/g, "&")
    .replace(/\s+/g, " ");
}

function shows(state: State, ...parts: string[]): void {
  const text = words(state);
  for (const part of parts) assert.ok(text.includes(part), `"${part}" is not in: ${text}`);
}

test("before the first status it says that it waits", () => {
  shows(initialState, "Waiting for the first status");
});

test("the header says who serves what, on what", () => {
  shows(live, "demo", "1 of 3 nodes serving", "smollm2-135m-instruct 9c1f3e5a7b2d", "int8");
  shows(live, "avx512-vnni", "12 min 35 s", "0.1.0", "SLO met 99.8 %", "Tokens a second 287");
  shows(live, "1 part of the manifest not active yet spec.training: policy inference_only");
});

test("sites hold nodes, nodes hold replicas and actors", () => {
  shows(live, "Site kitchen 1 node · 11 in flight · 143 tokens/s · SLO met 99.8 %");
  shows(live, "Site workshop 2 nodes", "edge-b draining heard 0 s ago");
  shows(live, "edge-a/0 3 11 844 of 2,048 143 613 62.5 % 71.5 ms 2 319 · 413 ms 12 ms");
  shows(live, "engine edge-a/0 4 96.9 % 1.23 M 78.5 ms 2 0 1");
  shows(live, "Head", "supervisor", "registry");
});

test("a lost node says so, why, and since when", () => {
  shows(live, "edge-c lost heard never, 2 restarts", "Last loss: killed by signal 9");
  shows(live, "This node has not reported yet.");
});

test("numbers that should be zero draw the eye only if they are not", () => {
  const page = html(live);
  assert.match(page, /<td class="alarm">2<\/td>/);
  assert.doesNotMatch(page, /class="alarm">0</);
});

test("requests, versions and memory are counted", () => {
  shows(live, "edge-a kitchen 11 12,361 12,345 2 1 2", "All 22 24,722 24,690 4 2 4");
  shows(live, "assistant@2 serving edge-a 10 · edge-b 10 5f0e1d2c3b4a assistant@1");
  shows(live, "assistant@1 retired edge-a (draining) 1");
  shows(live, "base 138 MiB 140 MiB one copy, mapped by 2 processes");
  shows(live, "versions 18 MiB not bounded apart edge-a 9.2 MiB · edge-b 9.2 MiB");
});

test("events are listed with what was missed", () => {
  const event = {
    seq: 4,
    ageMs: 0,
    level: "error",
    node: "edge-c",
    kind: "node_lost",
    message: "signal 9",
  };
  const first = reduce(live, {
    kind: "event",
    atMs: 1,
    event: { ...event, level: "error" as const },
  });
  const both = reduce(first, {
    kind: "event",
    atMs: 2,
    event: { ...event, seq: 6, level: "info", kind: "node_joined", message: "pid 7" },
  });
  shows(both, "info edge-c node joined pid 7 (1 event before this one did not arrive)");
  shows(both, "error edge-c node lost signal 9");
});

test("empty states are said in words", () => {
  const bare = readStatus(
    JSON.stringify({ ...golden, head: undefined, nodes: [], versions: [], inactive: [] }),
  );
  const state = reduce(initialState, { kind: "status", status: bare, atMs: 1_000 });
  shows(state, "no nodes yet", "No node has joined yet", "No adapter is loaded");
  shows(
    state,
    "Nothing has happened",
    "No process has reported its memory",
    "no request was counted",
  );
  assert.ok(!words(state).includes("not active yet"));
});

test("no number is shown that is none", () => {
  const text = words(live);
  for (const wrong of ["NaN", "Infinity", "undefined", "null", "[object"]) {
    assert.ok(!text.includes(wrong), wrong);
  }
});

test("a lost connection is announced over the last known state", () => {
  const lost = reduce(live, { kind: "lost", why: "the server cannot be reached", atMs: 2_000 });
  const later = reduce(lost, { kind: "tick", atMs: 14_000 });
  shows(later, "Connection lost 12 s ago: the server cannot be reached.", "edge-a");
  assert.match(html(later), /role="alert"/);
});

test("without a key nothing but the question is shown", () => {
  const locked = reduce(live, { kind: "locked", why: "an admin key is set", atMs: 2_000 });
  shows(locked, "Admin key", "an admin key is set");
  assert.ok(!words(locked).includes("edge-a"));
});

test("text from the cluster cannot become markup", () => {
  const nasty = readStatus(JSON.stringify({ ...golden, cluster: "<img src=x onerror=alert(1)>" }));
  const page = html(reduce(initialState, { kind: "status", status: nasty, atMs: 1_000 }));
  assert.ok(!page.includes("<img"));
  assert.ok(page.includes("&lt;img"));
});
