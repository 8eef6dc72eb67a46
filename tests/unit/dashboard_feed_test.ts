// The event stream: frames out of chunks, reconnection, keys and silence, with a fetch and a clock
// of the test's own.
import assert from "node:assert/strict";
import { test } from "node:test";
import golden from "../browser/data/status.json";
import { Feed, silenceMsMax } from "../../dashboard/src/feed";
import { frameCharsMax, FrameReader } from "../../dashboard/src/sse";
import type { Input } from "../../dashboard/src/state";

const statusFrame = `event: status\ndata: ${JSON.stringify(golden)}\n\n`;

function eventFrame(seq: number): string {
  const data = { seq, ageMs: 0, level: "info", node: "edge-a", kind: "node_joined", message: "" };
  return `event: event\nid: ${seq}\ndata: ${JSON.stringify(data)}\n\n`;
}

class Bench {
  readonly told: Input[] = [];
  readonly requests: RequestInit[] = [];
  readonly timers: { ms: number; call: () => void; over: boolean }[] = [];
  seq = 0;
  answer: () => Promise<Response> = () => new Promise(() => undefined);

  readonly feed = new Feed({
    url: "/admin/v1/events",
    lastSeq: () => this.seq,
    tell: (input) => this.told.push(input),
    ports: {
      fetch: (_url, options) => {
        this.requests.push(options);
        return this.answer();
      },
      now: () => 1_000,
      after: (ms, call) => {
        const timer = { ms, call, over: false };
        this.timers.push(timer);
        return () => {
          timer.over = true;
        };
      },
    },
  });

  kinds(): string[] {
    return this.told.map((input) => input.kind);
  }

  pending() {
    return this.timers.filter((timer) => !timer.over);
  }

  /** Runs the only timer that waits. */
  fire(): number {
    const [timer, ...others] = this.pending();
    assert.ok(timer && others.length === 0, "exactly one timer waits");
    timer.over = true;
    timer.call();
    return timer.ms;
  }

  header(request: number, name: string): string | undefined {
    return (this.requests[request]?.headers as Record<string, string>)[name];
  }
}

/** Lets promises that are ready run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function streamOf(...chunks: string[]): Response {
  const encoded = chunks.map((chunk) => new TextEncoder().encode(chunk));
  return new Response(
    new ReadableStream({
      start(controller) {
        encoded.forEach((chunk) => controller.enqueue(chunk));
        controller.close();
      },
    }),
  );
}

test("frames are the same however the stream is cut", () => {
  const text = `${statusFrame}: a comment\n\n${eventFrame(3)}`.replaceAll("\n", "\r\n");
  const whole = new FrameReader().push(text);
  assert.deepEqual(
    whole.map((frame) => [frame.event, frame.id]),
    [
      ["status", ""],
      ["event", "3"],
    ],
  );
  for (const size of [1, 2, 7, 4096]) {
    const reader = new FrameReader();
    const frames = [];
    for (let at = 0; at < text.length; at += size)
      frames.push(...reader.push(text.slice(at, at + size)));
    assert.deepEqual(frames, whole, `in chunks of ${size}`);
  }
});

test("data of several lines is joined, and a frame without data is none", () => {
  const frames = new FrameReader().push("data: a\ndata:b\n\nevent: x\n\n");
  assert.deepEqual(frames, [{ event: "message", id: "", data: "a\nb" }]);
});

test("a frame without an end is refused at the limit", () => {
  const reader = new FrameReader();
  reader.push("x".repeat(frameCharsMax));
  assert.throws(() => reader.push("x"), /without an end/);
});

test("status and events are told as they come", async () => {
  const bench = new Bench();
  bench.answer = () =>
    Promise.resolve(streamOf(statusFrame.slice(0, 50), statusFrame.slice(50) + eventFrame(1)));
  bench.feed.start();
  await settled();
  assert.deepEqual(bench.kinds(), ["open", "status", "event", "lost"]);
});

test("after a loss it goes on behind the last event, in growing pauses", async () => {
  const bench = new Bench();
  bench.answer = () => Promise.reject(new TypeError("fetch failed"));
  bench.feed.start();
  const pauses: number[] = [];
  for (let n = 0; n < 6; ++n) {
    await settled();
    bench.seq = 42;
    pauses.push(bench.fire());
  }
  assert.deepEqual(pauses, [500, 1_000, 2_000, 4_000, 8_000, 8_000]);
  assert.equal(bench.header(0, "last-event-id"), undefined);
  assert.equal(bench.header(1, "last-event-id"), "42");
  const lost = bench.told[0];
  assert.ok(lost?.kind === "lost" && lost.why === "the server cannot be reached");
});

test("a status makes the next pause short again", async () => {
  const bench = new Bench();
  bench.answer = () => Promise.reject(new TypeError("fetch failed"));
  bench.feed.start();
  await settled();
  bench.fire();
  await settled();
  bench.answer = () => Promise.resolve(streamOf(statusFrame));
  assert.equal(bench.fire(), 1_000);
  await settled();
  assert.equal(bench.fire(), 500);
});

test("silence is a loss, and the connection is given up", async () => {
  const bench = new Bench();
  bench.answer = () => Promise.resolve(new Response(new ReadableStream()));
  bench.feed.start();
  await settled();
  assert.equal(bench.fire(), silenceMsMax);
  assert.deepEqual(bench.kinds(), ["open", "lost"]);
  assert.equal(bench.requests[0]?.signal?.aborted, true);
  await settled();
  assert.deepEqual(bench.kinds(), ["open", "lost"], "its end is not told twice");
});

test("a status that does not read is a loss with its reason", async () => {
  const bench = new Bench();
  bench.answer = () => Promise.resolve(streamOf('event: status\ndata: {"cluster":1}\n\n'));
  bench.feed.start();
  await settled();
  const lost = bench.told[1];
  assert.ok(lost?.kind === "lost");
  assert.match(lost.why, /status\.cluster: wanted text/);
});

test("401 asks for the key and tries no further; the key is sent then", async () => {
  const bench = new Bench();
  const body = JSON.stringify({ error: { message: "the admin key is wanted" } });
  bench.answer = () => Promise.resolve(new Response(body, { status: 401 }));
  bench.feed.start();
  await settled();
  assert.deepEqual(bench.told, [{ kind: "locked", why: "the admin key is wanted", atMs: 1_000 }]);
  assert.equal(bench.pending().length, 0);
  bench.answer = () => Promise.resolve(streamOf(statusFrame));
  bench.feed.start("secret");
  await settled();
  assert.equal(bench.header(1, "authorization"), "Bearer secret");
});

test("any other refusal is a loss with the server's words", async () => {
  const bench = new Bench();
  bench.answer = () => Promise.resolve(new Response("<html>", { status: 502 }));
  bench.feed.start();
  await settled();
  const lost = bench.told[0];
  assert.ok(lost?.kind === "lost" && lost.why === "the server answered 502");
});

test("starting anew leaves one connection, and the old one tells nothing more", async () => {
  const bench = new Bench();
  const finish: ((response: Response) => void)[] = [];
  bench.answer = () => new Promise((resolve) => finish.push(resolve));
  bench.feed.start();
  bench.feed.start();
  await settled();
  assert.equal(bench.requests[0]?.signal?.aborted, true);
  finish[1]?.(new Response(new ReadableStream()));
  await settled();
  assert.deepEqual(bench.kinds(), ["open"]);
  assert.equal(bench.pending().length, 1);
});
