// Wires the event stream to the page: the only file that has a side effect besides chart.tsx.
import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { Feed } from "./feed";
import { initialState, reduce, type Input, type State } from "./state";
import { Page } from "./views/page";

const root = document.getElementById("page");
if (root === null) throw new Error("index.html has no element #page");
const target = root;

let state: State = initialState;

function draw(): void {
  const name = state.status?.cluster;
  document.title = name ? `${name} · CoLLM` : "CoLLM";
  render(<Page state={state} unlock={(key) => feed.start(key)} />, target);
}

function tell(input: Input): void {
  const life = state.life;
  state = reduce(state, input);
  draw();
  // A new process numbers its events anew: ask it for all that it has.
  if (state.life !== life) feed.start();
}

const feed = new Feed({
  url: "../admin/v1/events",
  lastSeq: () => state.lastSeq,
  tell,
  ports: {
    fetch: (url, options) => fetch(url, options),
    now: () => Date.now(),
    after: (ms, call) => {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
  },
});

draw();
feed.start();
// Keeps "lost for 12 s" counting while nothing comes.
setInterval(() => {
  if (state.connection.kind !== "live") tell({ kind: "tick", atMs: Date.now() });
}, 1_000);
