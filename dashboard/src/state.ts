// All that the page knows, and the one pure function that changes it.
import { addPoint, type History } from "./history";
import type { ClusterEvent, ClusterStatus } from "./status";

export type Connection =
  | { readonly kind: "connecting" }
  | { readonly kind: "live" }
  | { readonly kind: "lost"; readonly sinceMs: number; readonly why: string }
  | { readonly kind: "locked"; readonly why: string };

export interface LogLine extends ClusterEvent {
  readonly atMs: number;
  /** Events that were dropped between this one and the one before. */
  readonly missed: number;
}

export interface State {
  readonly connection: Connection;
  readonly status: ClusterStatus | null;
  readonly history: History;
  /** Newest first. */
  readonly log: readonly LogLine[];
  readonly lastSeq: number;
  /** Counts restarts of the process that we watch: its events are numbered anew. */
  readonly life: number;
  readonly nowMs: number;
}

export const logMax = 200;

export const initialState: State = {
  connection: { kind: "connecting" },
  status: null,
  history: [],
  log: [],
  lastSeq: 0,
  life: 0,
  nowMs: 0,
};

export type Input =
  | { readonly kind: "status"; readonly status: ClusterStatus; readonly atMs: number }
  | { readonly kind: "event"; readonly event: ClusterEvent; readonly atMs: number }
  | { readonly kind: "open"; readonly atMs: number }
  | { readonly kind: "lost"; readonly why: string; readonly atMs: number }
  | { readonly kind: "locked"; readonly why: string; readonly atMs: number }
  | { readonly kind: "tick"; readonly atMs: number };

function onStatus(state: State, status: ClusterStatus, atMs: number): State {
  const before = state.status?.head?.pid;
  const reborn = before !== undefined && status.head !== null && status.head.pid !== before;
  const history = addPoint(state.history, status, atMs);
  const next = { ...state, connection: { kind: "live" } as const, status, history };
  return reborn ? { ...next, lastSeq: 0, life: state.life + 1 } : next;
}

function onEvent(state: State, event: ClusterEvent, atMs: number): State {
  if (event.seq <= state.lastSeq) return state;
  const missed = state.lastSeq === 0 ? 0 : event.seq - state.lastSeq - 1;
  const line = { ...event, atMs: atMs - event.ageMs, missed };
  return { ...state, log: [line, ...state.log].slice(0, logMax), lastSeq: event.seq };
}

function onLost(state: State, why: string, atMs: number): State {
  const since = state.connection.kind === "lost" ? state.connection.sinceMs : atMs;
  return { ...state, connection: { kind: "lost", sinceMs: since, why } };
}

export function reduce(before: State, input: Input): State {
  const state = { ...before, nowMs: input.atMs };
  switch (input.kind) {
    case "status":
      return onStatus(state, input.status, input.atMs);
    case "event":
      return onEvent(state, input.event, input.atMs);
    case "open":
      return { ...state, connection: { kind: "live" } };
    case "lost":
      return onLost(state, input.why, input.atMs);
    case "locked":
      return { ...state, connection: { kind: "locked", why: input.why } };
    case "tick":
      return state;
  }
}
