// Whether what is shown is true now: connecting, lost, or a key is wanted.
import { duration } from "../format";
import type { State } from "../state";

export function Connection({ state }: { state: State }) {
  const { connection, nowMs } = state;
  if (connection.kind === "lost") {
    const since = duration(Math.max(0, nowMs - connection.sinceMs));
    return (
      <p class="banner bad" role="alert">
        <strong>Connection lost</strong> {since} ago: {connection.why}. Trying again.
        {state.status === null ? "" : " What is shown below is the last that was heard."}
      </p>
    );
  }
  if (state.status !== null) return null;
  return (
    <p class="banner" role="status">
      Waiting for the first status of the cluster.
    </p>
  );
}

export function Unlock({ why, unlock }: { why: string; unlock: (key: string) => void }) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const key = new FormData(event.currentTarget as HTMLFormElement).get("key");
    if (typeof key === "string" && key !== "") unlock(key);
  };
  return (
    <form class="unlock" onSubmit={submit}>
      <h1>CoLLM</h1>
      <p>This cluster shows its state to its admin only. It says: {why}</p>
      <label>
        Admin key <input name="key" type="password" autocomplete="off" required />
      </label>
      <button type="submit">Show</button>
      <p class="empty">The key stays in this tab and is forgotten when it is closed or reloaded.</p>
    </form>
  );
}
