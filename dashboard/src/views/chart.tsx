// One uPlot canvas with its legend in words. The only view with a life of its own: uPlot draws into
// an element that preact leaves alone.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { clock, none } from "../format";

type Data = readonly [readonly number[], ...(readonly (number | null)[])[]];

interface ChartProps {
  readonly title: string;
  readonly sites: readonly string[];
  readonly show: (value: number) => string;
  /** A limit to draw across; 0: none. */
  readonly promised: number;
  readonly data: Data;
}

const height = 150;
const spanMin = 60;

function color(of: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(of).trim();
}

export function siteColor(index: number): string {
  return `--site-${index % 6}`;
}

/** The line at `promised`, where it is within what the chart shows. */
function drawPromise(plot: uPlot, promised: number): void {
  const top = plot.scales["y"]?.max ?? 0;
  if (promised <= 0 || promised > top) return;
  const y = Math.round(plot.valToPos(promised, "y", true));
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = color("--limit");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

function axis(extra: uPlot.Axis): uPlot.Axis {
  const line = { stroke: () => color("--line"), width: 1 };
  return {
    stroke: () => color("--dim"),
    font: "11px system-ui, sans-serif",
    grid: line,
    ticks: { show: false },
    ...extra,
  };
}

function optionsFor(
  props: ChartProps,
  width: number,
  hover: (index: number | null) => void,
): uPlot.Options {
  return {
    width,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      // At least a minute wide, so that the first points do not look like a history.
      x: { range: (_plot, min, max) => [Math.min(min, max - spanMin), max] },
      y: { range: (_plot, _min, max) => [0, Math.max(max * 1.1, 1e-3)] },
    },
    axes: [
      axis({
        values: (_plot, splits) => splits.map((s) => clock(s * 1000)),
        space: 70,
        size: 26,
        grid: { show: false },
      }),
      axis({
        values: (_plot, splits) => splits.map((v) => (v === 0 ? "0" : props.show(v))),
        size: 64,
        space: 32,
      }),
    ],
    series: [
      {},
      ...props.sites.map((site, index) => ({
        label: site,
        stroke: () => color(siteColor(index)),
        width: 1.5,
        points: { show: false },
      })),
    ],
    hooks: {
      draw: [(plot) => drawPromise(plot, props.promised)],
      setCursor: [(plot) => hover(plot.cursor.idx ?? null)],
    },
  };
}

function usePlot(props: ChartProps, hover: (index: number | null) => void) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const identity = `${props.sites.join("\n")} ${props.promised}`;
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const made = new uPlot(
      optionsFor(props, element.clientWidth, hover),
      props.data as uPlot.AlignedData,
      element,
    );
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const repaint = () => made.redraw(false);
    scheme.addEventListener("change", repaint);
    return () => {
      scheme.removeEventListener("change", repaint);
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [identity]);
  useEffect(() => plot.current?.setData(props.data as uPlot.AlignedData), [props.data]);
  return place;
}

export function Chart(props: ChartProps) {
  const [hovered, hover] = useState<number | null>(null);
  const place = usePlot(props, hover);
  const [times, ...lines] = props.data;
  const index = hovered ?? times.length - 1;
  const at = times[index];
  const valueOf = (line: readonly (number | null)[]) => {
    const value = line[index];
    return value === null || value === undefined ? none : props.show(value);
  };
  return (
    <figure>
      <figcaption>
        <span class="name">{props.title}</span>
        <span class="dim">{hovered !== null && at !== undefined ? clock(at * 1000) : "now"}</span>
        {props.sites.map((site, n) => (
          <span class="key" key={site}>
            <span
              class="swatch"
              aria-hidden="true"
              style={{ background: `var(${siteColor(n)})` }}
            />
            {site} <b>{valueOf(lines[n] ?? [])}</b>
          </span>
        ))}
        {props.promised > 0 ? (
          <span class="key dim">promised {props.show(props.promised)}</span>
        ) : null}
      </figcaption>
      <div class="plot" ref={place} aria-hidden="true" />
    </figure>
  );
}
