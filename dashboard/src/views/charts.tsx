// Throughput and latencies of the last minutes, one line a site.
import { latency, rate } from "../format";
import { columns, sitesOf, type History, type Series } from "../history";
import type { ClusterStatus } from "../status";
import { Chart } from "./chart";
import { Empty, Section } from "./parts";

interface Plot {
  readonly series: Series;
  readonly title: string;
  readonly show: (value: number) => string;
  readonly promised: (status: ClusterStatus) => number;
}

const plots: readonly Plot[] = [
  { series: "tokensPerSecond", title: "Tokens a second", show: rate, promised: () => 0 },
  {
    series: "ttftMs",
    title: "Time to first token, p99",
    show: latency,
    promised: (s) => s.sloTtftMs,
  },
  {
    series: "tpotMs",
    title: "Time per output token, p99",
    show: latency,
    promised: (s) => s.sloTpotMs,
  },
];

export function Charts({ history, status }: { history: History; status: ClusterStatus }) {
  const sites = sitesOf(history);
  return (
    <Section id="charts" title="Last minutes" note="since this page was opened">
      {sites.length === 0 ? (
        <Empty>No site has reported yet.</Empty>
      ) : (
        <div class="charts">
          {plots.map((plot) => (
            <Chart
              key={plot.series}
              title={plot.title}
              sites={sites}
              show={plot.show}
              promised={plot.promised(status)}
              data={columns(history, sites, plot.series)}
            />
          ))}
        </div>
      )}
    </Section>
  );
}
