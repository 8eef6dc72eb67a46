// The built page in a real browser: what a person sees, that it asks no other host, and how it
// takes a lost connection, a locked cluster, the dark and a narrow screen. Pictures are left in
// COLLM_PICTURES.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Chromium, Tab } from "./chromium.mjs";
import { PageServer } from "./page_server.mjs";

const golden = JSON.parse(readFileSync(new URL("data/status.json", import.meta.url), "utf8"));
const page = process.env.COLLM_PAGE;
const pictures = process.env.COLLM_PICTURES;

let browser;
let server;
let origin;
let tab;

function event(seq, kind, message, level = "info", node = "edge-a") {
  return { seq, ageMs: 1000 * (5 - seq), level, node, kind, message };
}

/** The golden snapshot at another moment, so that charts have a line to draw. */
function moment(n) {
  const status = structuredClone(golden);
  status.uptimeMs += 1000 * n;
  status.nodes.forEach(({ snapshot }, index) => {
    if (!snapshot) return;
    snapshot.tokensPerSecond = 120 + 30 * Math.sin(n / 5 + index) + 4 * (n % 3);
    snapshot.ttftMsP99 = 900 + 500 * Math.sin(n / 9 + 2 * index);
    snapshot.tpotMsP99 = 80 + 12 * Math.cos(n / 7 + index);
  });
  return status;
}

before(async () => {
  assert.ok(page && pictures, "COLLM_PAGE is the built page, COLLM_PICTURES a folder for pictures");
  browser = new Chromium();
  mkdirSync(pictures, { recursive: true });
  server = new PageServer(page, golden);
  server.events = [
    event(1, "node_joined", "pid 4101"),
    event(2, "version_serving", "assistant@2 (peft:assistant-v2)"),
    event(3, "node_lost", "killed by signal 9", "error", "edge-c"),
  ];
  origin = await server.start();
  tab = await Tab.open(browser);
  await tab.resize(1360, 900);
  // The page's clock, which a test puts forward.
  const source = "globalThis.shiftMs = 0; const now = Date.now; Date.now = () => now() + shiftMs;";
  await tab.call("Page.addScriptToEvaluateOnNewDocument", { source });
  await tab.go(`${origin}/dashboard/`);
  await tab.until(`document.querySelector("h1")?.innerText === "demo"`);
  await tab.until(
    `document.querySelector("#events") && document.body.innerText.includes("signal 9")`,
  );
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function shows(...parts) {
  const text = await tab.text();
  for (const part of parts) assert.ok(text.includes(part), `"${part}" is not on the page: ${text}`);
}

async function picture(name) {
  writeFileSync(join(pictures, `${name}.png`), await tab.picture());
}

test("sites, nodes, actors and their numbers are on the page", async () => {
  await shows("Site kitchen", "Site workshop", "edge-a", "edge-b", "edge-c", "lost");
  await shows("engine edge-a/0 4 96.9 %", "1.23 M", "router", "supervisor", "844 of 2,048");
  await shows("assistant@2 serving edge-a 10 · edge-b 10", "base 138 MiB 140 MiB one copy");
  await shows("edge-a kitchen 11 12,361 12,345", "node lost killed by signal 9");
});

test("what changes in the cluster changes on the page", async () => {
  server.status = structuredClone(golden);
  server.status.nodes[0].snapshot.actors[3].mailbox = 777;
  server.events.push(event(4, "node_joined", "pid 4999", "info", "edge-c"));
  server.publish();
  await tab.until(`document.body.innerText.includes("777")`);
  await tab.until(`document.body.innerText.includes("pid 4999")`);
});

test("the charts draw a line a site", async () => {
  for (let n = 1; n <= 90; ++n) {
    server.status = moment(n);
    await tab.evaluate("globalThis.shiftMs += 1000");
    server.publish();
    const uptime = `${Math.floor((755 + n) / 60)} min ${(755 + n) % 60} s`;
    await tab.until(`document.querySelector("header .facts").textContent.includes("${uptime}")`);
  }
  await tab.until(`document.querySelectorAll(".plot canvas").length === 3`);
  await tab.until(`document.querySelector("figcaption").innerText.includes("kitchen")`);
  const painted = `(() => {
    const canvas = document.querySelector(".plot canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colors = new Set();
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] === 255) colors.add(data[i] + "," + data[i + 1] + "," + data[i + 2]);
    }
    return ["47,111,159", "201,120,31"].every((color) => colors.has(color));
  })()`;
  await tab.evaluate("new Promise((resolve) => requestAnimationFrame(() => resolve()))");
  assert.equal(await tab.evaluate(painted), true, "both site colours are on the canvas");
});

test("it asks its own server only, and breaks no rule of its security policy", () => {
  assert.ok(tab.requests.length >= 4, String(tab.requests));
  const outside = tab.requests.filter(
    (url) => !url.startsWith(`${origin}/`) && !url.startsWith("data:"),
  );
  assert.deepEqual(outside, []);
  assert.deepEqual(tab.complaints, []);
});

test("nothing is wider than the screen, down to a telephone", async () => {
  for (const width of [1360, 768, 360]) {
    await tab.resize(width, 900);
    const over = await tab.evaluate("document.scrollingElement.scrollWidth - innerWidth");
    assert.ok(over <= 0, `${over} px too wide at ${width}`);
    await picture(`light-${width}`);
  }
  await tab.resize(1360, 900);
});

test("the dark scheme is dark, and its text readable", async () => {
  await tab.resize(1360, 900, "dark");
  const luminance = `((color) => {
    const [r, g, b] = color.match(/\\d+/g).map((v) => (v / 255) ** 2.2);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  })`;
  const contrast = await tab.evaluate(`(() => {
    const light = ${luminance};
    const { backgroundColor, color } = getComputedStyle(document.body);
    return (light(color) + 0.05) / (light(backgroundColor) + 0.05);
  })()`);
  assert.ok(contrast > 7, `contrast ${contrast}`);
  await picture("dark-1360");
  await tab.resize(1360, 900);
});

test("the keyboard reaches and folds a node, and it stays folded", async () => {
  await tab.evaluate(`document.querySelector(".node summary").focus()`);
  for (const type of ["rawKeyDown", "char", "keyUp"]) {
    await tab.call("Input.dispatchKeyEvent", {
      type,
      key: " ",
      text: type === "char" ? " " : "",
      windowsVirtualKeyCode: 32,
    });
  }
  await tab.until(`document.querySelector(".node").open === false`);
  server.status = structuredClone(golden);
  server.status.cluster = "folded";
  server.publish();
  await tab.until(`document.querySelector("h1").innerText === "folded"`);
  assert.equal(await tab.evaluate(`document.querySelector(".node").open`), false);
  await tab.evaluate(`document.querySelector(".node").open = true`);
});

test("a cut stream is announced, mended by itself, and goes on after the last event", async () => {
  server.cut();
  await tab.until(`document.querySelector("[role=alert]")?.innerText.includes("Connection lost")`);
  await shows("edge-a", "the last that was heard");
  await picture("lost-1360");
  server.events.push(event(5, "engine_restarted", "edge-a/0"));
  server.mend();
  await tab.until(`document.querySelector("[role=alert]") === null`);
  await tab.until(`document.body.innerText.includes("engine restarted")`);
  assert.equal(server.subscriptions.at(-1)["last-event-id"], "4");
  const joined = await tab.evaluate(`document.body.innerText.split("pid 4101").length - 1`);
  assert.equal(joined, 1, "no event is shown twice");
});

test("a cluster with an admin key asks for it, and shows itself for the right one", async () => {
  server.key = "correct horse";
  const fresh = await Tab.open(browser);
  await fresh.go(`${origin}/dashboard/`);
  await fresh.until(`document.querySelector("input[type=password]") !== null`);
  assert.ok(!(await fresh.text()).includes("edge-a"));
  await fresh.evaluate(`(() => {
    document.querySelector("input").value = "correct horse";
    document.querySelector("form").requestSubmit();
  })()`);
  await fresh.until(`document.body.innerText.includes("edge-a")`);
  server.key = "";
});
