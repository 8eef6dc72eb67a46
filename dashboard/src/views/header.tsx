// Who is serving what, and whether all is well.
import { bytes, count, digest, duration, latency, plural, rate, share } from "../format";
import type { ClusterStatus } from "../status";
import {
  answers,
  headOf,
  ledgerRows,
  nodesOf,
  requestRows,
  requestTotal,
  siteSummary,
} from "../summary";
import { Facts } from "./parts";

function health(status: ClusterStatus): { tone: string; words: string } {
  const nodes = nodesOf(status);
  const serving = nodes.filter((node) => node.state === "serving").length;
  if (nodes.length === 0) return { tone: "warn", words: "no nodes yet" };
  if (serving === nodes.length) {
    return {
      tone: "good",
      words: nodes.length === 1 ? "1 node serving" : `all ${nodes.length} nodes serving`,
    };
  }
  return {
    tone: serving === 0 ? "bad" : "warn",
    words: `${serving} of ${plural(nodes.length, "node")} serving`,
  };
}

function kernelPaths(status: ClusterStatus): string {
  const seen = nodesOf(status).map((node) => node.snapshot?.kernelPath ?? "");
  seen.push(headOf(status)?.kernelPath ?? "");
  return [...new Set(seen.filter((path) => path !== ""))].join(", ") || "not known yet";
}

function promise(status: ClusterStatus): string {
  return `first token within ${duration(status.sloTtftMs)}, then ${status.sloTpotMs} ms a token`;
}

export function Header({ status }: { status: ClusterStatus }) {
  const { tone, words } = health(status);
  return (
    <header>
      <div class="title">
        <span class="product">CoLLM</span> <h1>{status.cluster || "unnamed cluster"}</h1>{" "}
        <span class={`badge ${tone}`}>{words}</span>
      </div>
      <Facts
        of={[
          [
            "Base",
            <span title={status.baseDigest}>
              {status.baseName} <code>{digest(status.baseDigest)}</code>
            </span>,
          ],
          ["Precision", status.precision],
          ["Kernels", kernelPaths(status)],
          ["Up for", duration(status.uptimeMs)],
          ["Version", status.version],
        ]}
      />
      <Figures status={status} />
      <Inactive parts={status.inactive} />
    </header>
  );
}

function Inactive({ parts }: { parts: readonly string[] }) {
  if (parts.length === 0) return null;
  return (
    <details class="note">
      <summary>{plural(parts.length, "part")} of the manifest not active yet</summary>
      <ul>
        {parts.map((part) => (
          <li key={part}>{part}</li>
        ))}
      </ul>
    </details>
  );
}

function Figures({ status }: { status: ClusterStatus }) {
  const now = siteSummary({ nodes: nodesOf(status) });
  const total = requestTotal(requestRows(status));
  const ledger = ledgerRows(status);
  const used = ledger.reduce((sum, row) => sum + row.used, 0);
  const silent = nodesOf(status).filter((node) => !answers(node)).length;
  return (
    <dl class="figures">
      <Figure
        name="In flight"
        value={count(now.inFlight)}
        note={`${count(total.answered)} answered`}
      />
      <Figure
        name="Tokens a second"
        value={rate(now.tokensPerSecond)}
        note={silent === 0 ? "all sites" : `without ${plural(silent, "silent node")}`}
      />
      <Figure
        name="SLO met"
        value={now.sloAttainment === null ? "–" : share(now.sloAttainment)}
        note={
          now.sloAttainment === null ? "no requests in the last minute" : "last minute, worst node"
        }
        hint={promise(status)}
      />
      <Figure
        name="TTFT p99"
        value={latency(now.ttftMsP99)}
        note={`promised ${duration(status.sloTtftMs)}`}
        hint="Time to first token, last minute, worst node"
      />
      <Figure
        name="TPOT p99"
        value={latency(now.tpotMsP99)}
        note={`promised ${status.sloTpotMs} ms`}
        hint="Time per output token after the first, last minute, worst node"
      />
      <Figure name="Memory" value={bytes(used)} note="base counted once" />
    </dl>
  );
}

function Figure(props: { name: string; value: string; note: string; hint?: string }) {
  return (
    <div title={props.hint}>
      <dt>{props.name}</dt>
      <dd>
        <strong>{props.value}</strong>
        <span>{props.note}</span>
      </dd>
    </div>
  );
}
