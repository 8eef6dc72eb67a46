// The event stream over fetch (EventSource can send no key and tells no reason): one connection at
// a time, reconnecting with growing pauses, going on after the last event that was seen.
import { FrameReader, type Frame } from "./sse";
import { readEvent, readStatus } from "./status";
import type { Input } from "./state";

/** What the feed takes from its surroundings; tests give their own. */
export interface Ports {
  fetch(url: string, options: RequestInit): Promise<Response>;
  now(): number;
  /** Calls once after `ms`; the result cancels. */
  after(ms: number, call: () => void): () => void;
}

export interface FeedOptions {
  readonly url: string;
  readonly lastSeq: () => number;
  readonly tell: (input: Input) => void;
  readonly ports: Ports;
}

/** A status comes each second; this long without a byte is a dead connection. */
export const silenceMsMax = 5_000;
const pausesMs = [500, 1_000, 2_000, 4_000, 8_000] as const;

export class Feed {
  private key = "";
  private failures = 0;
  private abort: AbortController | null = null;
  private cancelPause: () => void = () => undefined;
  private cancelWatch: () => void = () => undefined;

  constructor(private readonly options: FeedOptions) {}

  start(key = this.key): void {
    this.stop();
    this.key = key;
    const abort = new AbortController();
    this.abort = abort;
    void this.follow(abort);
  }

  stop(): void {
    this.cancelPause();
    this.cancelWatch();
    this.abort?.abort();
    this.abort = null;
  }

  private headers(): Record<string, string> {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (this.options.lastSeq() > 0) headers["last-event-id"] = String(this.options.lastSeq());
    if (this.key !== "") headers["authorization"] = `Bearer ${this.key}`;
    return headers;
  }

  private async follow(abort: AbortController): Promise<void> {
    try {
      this.watch(abort);
      const response = await this.options.ports.fetch(this.options.url, {
        headers: this.headers(),
        signal: abort.signal,
        cache: "no-store",
      });
      if (response.ok && response.body !== null) await this.readAll(response.body, abort);
      else await this.refused(response, abort);
    } catch (failure) {
      if (this.abort === abort) this.lost(reasonOf(failure));
    }
  }

  private async readAll(body: ReadableStream<Uint8Array>, abort: AbortController): Promise<void> {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    const frames = new FrameReader();
    this.tell({ kind: "open", atMs: this.options.ports.now() });
    for (;;) {
      const { done, value } = await reader.read();
      if (this.abort !== abort) return;
      if (done) return this.lost("the server ended the stream");
      this.watch(abort);
      for (const frame of frames.push(decoder.decode(value, { stream: true }))) {
        this.accept(frame);
        // What we told may have made the owner start anew.
        if (this.abort !== abort) return;
      }
    }
  }

  private accept(frame: Frame): void {
    const atMs = this.options.ports.now();
    if (frame.event === "status") {
      this.failures = 0;
      this.tell({ kind: "status", status: readStatus(frame.data), atMs });
    } else if (frame.event === "event") {
      this.tell({ kind: "event", event: readEvent(frame.data), atMs });
    }
  }

  private async refused(response: Response, abort: AbortController): Promise<void> {
    const why = await errorText(response);
    if (this.abort !== abort) return;
    if (response.status !== 401) return this.lost(why);
    this.cancelWatch();
    this.tell({ kind: "locked", why, atMs: this.options.ports.now() });
  }

  private watch(abort: AbortController): void {
    this.cancelWatch();
    this.cancelWatch = this.options.ports.after(silenceMsMax, () => {
      if (this.abort !== abort) return;
      this.lost(`nothing was heard for ${silenceMsMax / 1000} s`);
    });
  }

  private lost(why: string): void {
    this.stop();
    const pause = pausesMs[Math.min(this.failures, pausesMs.length - 1)] ?? 8_000;
    this.failures += 1;
    this.tell({ kind: "lost", why, atMs: this.options.ports.now() });
    this.cancelPause = this.options.ports.after(pause, () => this.start());
  }

  private tell(input: Input): void {
    this.options.tell(input);
  }
}

function reasonOf(failure: unknown): string {
  if (failure instanceof TypeError) return "the server cannot be reached";
  return failure instanceof Error ? failure.message : String(failure);
}

/** The gateway's errors have OpenAI's form: {"error": {"message": ...}}. */
async function errorText(response: Response): Promise<string> {
  const fallback = `the server answered ${response.status}`;
  try {
    const body = (await response.json()) as { error?: { message?: unknown } };
    return typeof body.error?.message === "string" ? body.error.message : fallback;
  } catch (failure) {
    // A body that is no JSON is some proxy's page; the status says enough.
    return failure instanceof SyntaxError ? fallback : `${fallback}, then the connection broke`;
  }
}
