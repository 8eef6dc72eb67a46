// Debian's Chromium without a window, driven over its debugging pipe: no port, no client library.
import { spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const program = "/usr/bin/chromium";
const replyMsMax = 20_000;

// The second half keeps it from calling home, which a test must not do.
const flags = [
  "--headless",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--hide-scrollbars",
  "--no-first-run",
  "--remote-debugging-pipe",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-quic",
  "--disable-sync",
  "--no-proxy-server",
];

function checkInstalled() {
  try {
    accessSync(program, constants.X_OK);
  } catch {
    throw new Error(
      `there is no ${program}: run this by ./dev test, which installs Debian's package chromium`,
    );
  }
}

export class Chromium {
  #child;
  #folder;
  #waiting = new Map();
  #listeners = new Set();
  #last = 0;
  #rest = "";

  constructor() {
    checkInstalled();
    this.#folder = mkdtempSync(join(tmpdir(), "collm-chromium-"));
    const sandbox = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
    const own = [`--user-data-dir=${this.#folder}`, ...sandbox, "about:blank"];
    this.#child = spawn(program, [...flags, ...own], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    this.#child.stdio[4].setEncoding("utf8").on("data", (text) => this.#receive(text));
    this.#child.on("exit", (code) => this.#failAll(new Error(`Chromium ended with code ${code}`)));
  }

  /** Sends one command; `session` addresses a page, none the browser. */
  call(method, params = {}, session = undefined) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${method}: no answer within ${replyMsMax / 1000} s`));
      }, replyMsMax);
      this.#waiting.set(id, { method, resolve, reject, timer });
      this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: session })}\0`);
    });
  }

  onEvent(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close() {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    await this.call("Browser.close");
    await ended;
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  #receive(text) {
    const parts = (this.#rest + text).split("\0");
    this.#rest = parts.pop();
    for (const part of parts) this.#accept(JSON.parse(part));
  }

  #accept(message) {
    if (message.id === undefined) {
      for (const listener of [...this.#listeners]) listener(message);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    if (waiting === undefined) return;
    this.#waiting.delete(message.id);
    clearTimeout(waiting.timer);
    if (message.error) waiting.reject(new Error(`${waiting.method}: ${message.error.message}`));
    else waiting.resolve(message.result);
  }

  #failAll(failure) {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(failure);
    }
    this.#waiting.clear();
  }
}

/** One tab: what it asked for, what it complained about, and what stands in it. */
export class Tab {
  requests = [];
  complaints = [];
  #browser;
  #session;

  static async open(browser) {
    const tab = new Tab();
    const { targetId } = await browser.call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await browser.call("Target.attachToTarget", { targetId, flatten: true });
    tab.#browser = browser;
    tab.#session = sessionId;
    browser.onEvent((event) => event.sessionId === sessionId && tab.#note(event));
    for (const domain of ["Page", "Network", "Runtime", "Log"]) await tab.call(`${domain}.enable`);
    return tab;
  }

  call(method, params) {
    return this.#browser.call(method, params, this.#session);
  }

  #note({ method, params }) {
    if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
    if (method === "Runtime.exceptionThrown") this.complaints.push(params.exceptionDetails.text);
    if (method === "Log.entryAdded" && params.entry.level === "error") {
      this.complaints.push(`${params.entry.text} (${params.entry.url ?? ""})`);
    }
  }

  async go(url) {
    const loaded = new Promise((resolve) => {
      const forget = this.#browser.onEvent(({ method, sessionId }) => {
        if (sessionId !== this.#session || method !== "Page.loadEventFired") return;
        forget();
        resolve();
      });
    });
    await this.call("Page.navigate", { url });
    await loaded;
  }

  /** The value of an expression; a promise is awaited. */
  async evaluate(expression) {
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", options);
    if (exceptionDetails) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  /** Waits until the expression is true, looking again whenever the page changes. */
  until(expression, msMax = 15_000) {
    return this.evaluate(`new Promise((resolve, reject) => {
      const look = () => {
        if (!(${expression})) return;
        watch.disconnect();
        resolve(true);
      };
      const watch = new MutationObserver(look);
      watch.observe(document, { subtree: true, childList: true, characterData: true,
                                attributes: true });
      const said = ${JSON.stringify(expression)} + " stayed false: ";
      setTimeout(() => reject(new Error(said + document.body.innerText.slice(0, 2000))), ${msMax});
      look();
    })`);
  }

  text(selector = "body") {
    return this.evaluate(
      `document.querySelector(${JSON.stringify(selector)})?.innerText.replace(/\\s+/g, " ") ?? ""`,
    );
  }

  async resize(width, height, scheme = "light") {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: width < 600 };
    await this.call("Emulation.setDeviceMetricsOverride", metrics);
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await this.call("Emulation.setEmulatedMedia", { features });
  }

  async picture() {
    const { data } = await this.call("Page.captureScreenshot", { captureBeyondViewport: true });
    return Buffer.from(data, "base64");
  }
}
