// Serves the built page the way the gateway does (path, security policy), and an event stream over
// the golden snapshot that a test can change, cut and lock.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const types = { html: "text/html", js: "text/javascript", css: "text/css" };
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
  "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; " +
  "form-action 'none'; " +
  "frame-ancestors 'none'";

export class PageServer {
  status;
  events = [];
  key = "";
  /** Headers of each request for the event stream. */
  subscriptions = [];
  #folder;
  #open = new Set();
  #cut = false;
  #server = createServer((request, response) => this.#answer(request, response));

  constructor(folder, status) {
    this.#folder = folder;
    this.status = status;
  }

  async start() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  stop() {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  /** Sends the status, and each event that a subscriber does not know, to all. */
  publish() {
    for (const subscriber of this.#open) this.#send(subscriber);
  }

  /** Breaks the streams and refuses new ones until mended. */
  cut() {
    this.#cut = true;
    for (const { response } of this.#open) response.destroy();
    this.#open.clear();
  }

  mend() {
    this.#cut = false;
  }

  #answer(request, response) {
    const { pathname } = new URL(request.url, "http://localhost");
    if (pathname === "/admin/v1/events") return this.#subscribe(request, response);
    if (!pathname.startsWith("/dashboard/")) return this.#refuse(response, 404, "no such page");
    const name = pathname.slice("/dashboard/".length) || "index.html";
    if (!/^[a-z.]+$/.test(name)) return this.#refuse(response, 404, "no such page");
    response.setHeader("content-type", `${types[name.split(".").at(-1)]}; charset=utf-8`);
    response.setHeader("content-security-policy", policy);
    response.setHeader("x-content-type-options", "nosniff");
    response.end(readFileSync(join(this.#folder, name)));
  }

  #refuse(response, code, message) {
    response.writeHead(code, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: { message } }));
  }

  #subscribe(request, response) {
    this.subscriptions.push(request.headers);
    if (this.#cut) return this.#refuse(response, 503, "the test cut the stream");
    if (this.key !== "" && request.headers.authorization !== `Bearer ${this.key}`) {
      return this.#refuse(response, 401, "the admin key is wanted");
    }
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    const subscriber = { response, after: Number(request.headers["last-event-id"] ?? 0) };
    this.#open.add(subscriber);
    response.on("close", () => this.#open.delete(subscriber));
    this.#send(subscriber);
  }

  #send(subscriber) {
    subscriber.response.write(`event: status\ndata: ${JSON.stringify(this.status)}\n\n`);
    for (const event of this.events) {
      if (event.seq <= subscriber.after) continue;
      subscriber.response.write(
        `event: event\nid: ${event.seq}\ndata: ${JSON.stringify(event)}\n\n`,
      );
      subscriber.after = event.seq;
    }
  }
}
