// The last minutes of each site, for the charts: a bounded list of points, one a status.
import type { ClusterStatus } from "./status";
import { siteGroups, siteSummary } from "./summary";

export interface SitePoint {
  readonly tokensPerSecond: number | null;
  readonly ttftMs: number | null;
  readonly tpotMs: number | null;
}

export interface Point {
  readonly atMs: number;
  readonly sites: Readonly<Record<string, SitePoint>>;
}

export type History = readonly Point[];

export const pointsMax = 600;

/** null: a gap in the line. Nothing measured is a gap, zero tokens a second is not. */
function measured(ms: number): number | null {
  return Number.isFinite(ms) && ms > 0 ? ms : null;
}

export function addPoint(history: History, status: ClusterStatus, atMs: number): History {
  const pairs = siteGroups(status).map((group) => {
    const sum = siteSummary(group);
    return [
      group.site,
      {
        tokensPerSecond: sum.live === 0 ? null : sum.tokensPerSecond,
        ttftMs: sum.live === 0 ? null : measured(sum.ttftMsP99),
        tpotMs: sum.live === 0 ? null : measured(sum.tpotMsP99),
      },
    ] as const;
  });
  return [...history, { atMs, sites: Object.fromEntries(pairs) }].slice(-pointsMax);
}

export function sitesOf(history: History): string[] {
  const names = new Set<string>();
  for (const point of history) for (const name of Object.keys(point.sites)) names.add(name);
  return [...names].sort();
}

export type Series = keyof SitePoint;

/** uPlot's columns: seconds, then one column a site. */
export function columns(history: History, sites: readonly string[], series: Series) {
  const times = history.map((point) => point.atMs / 1000);
  const lines = sites.map((site) => history.map((point) => point.sites[site]?.[series] ?? null));
  return [times, ...lines] as const;
}
