// The page as a pure function of the state.
import type { State } from "../state";
import { Charts } from "./charts";
import { Connection, Unlock } from "./connection";
import { Events } from "./events";
import { Header } from "./header";
import { Ledger } from "./ledger";
import { Requests } from "./requests";
import { Sites } from "./sites";
import { Versions } from "./versions";

export function Page({ state, unlock }: { state: State; unlock: (key: string) => void }) {
  const { status, connection } = state;
  if (connection.kind === "locked") return <Unlock why={connection.why} unlock={unlock} />;
  return (
    <>
      <Connection state={state} />
      {status === null ? null : (
        <div class={connection.kind === "lost" ? "stale" : ""}>
          <Header status={status} />
          <main>
            <Charts history={state.history} status={status} />
            <Sites status={status} />
            <Requests status={status} />
            <Versions status={status} />
            <Ledger status={status} />
            <Events log={state.log} />
          </main>
        </div>
      )}
    </>
  );
}
