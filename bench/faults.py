"""What faults cost: a real cluster of two nodes under a steady load, one fault after the other, and
every request accounted for: answered, refused (a 429 or 503 that says when to come back) or failed.

Each row is a fault done once, while clients ask both nodes' gateways, each request streamed. `in
flight` ran when the fault began. `whole` is the time from the fault's end (its beginning, where the
cluster has to mend it) until both nodes serve and answer again.

Behind a bad line stands a node of its own machine (`tests/process/relay.py`): asked at its own
gateway, and at the head's, whose requests for it take that line.

The table also stands in docs/RELIABILITY.md.

usage: ./dev bench faults [--rate 2] [--only "kill -9 of a node"] [--out bench/results/faults]
"""

import argparse
import contextlib
import datetime
import http.client
import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/process")]

from bad_machine import OtherClock, SmallDisk, no_more_memory  # noqa: E402
from cluster import Cluster, lives, until  # noqa: E402
from client_load import Load, counted, outcome  # noqa: E402
from relay import Relay  # noqa: E402
from remote_nodes import RemoteNodes  # noqa: E402
from peer.process import fail, say  # noqa: E402
from peer.report import commit, cpu_name, into_docs, keep  # noqa: E402

CALM_S = 3          # of load before a fault
AFTER_S = 5         # and after the cluster is whole
WHOLE_WITHIN_S = 90
LASTS_S = 8         # a fault that comes and goes


def arguments():
    build = ROOT / os.environ.get("COLLM_BUILD", "build")
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--collm", default=str(build / "bin/collm"))
    p.add_argument("--rate", type=float, default=2, help="requests a second at each gateway")
    p.add_argument("--tokens", type=int, default=24, help="of an answer")
    p.add_argument("--only", help="the fault of this name")
    p.add_argument("--seed", type=int, default=1, help="of the arrivals")
    p.add_argument("--out", type=Path, default=ROOT / "bench/results/faults",
                   help=".json and .md are added")
    return p.parse_args()


# -- faults: each returns when it is over

def node_pid(c, name="edge-a"):
    return int(c.node(name)["snapshot"]["pid"])


def replaced(c, pid):
    """Until another process stands for the node, or this one is known to be gone."""
    until("the loss is noticed", lambda: pid not in c.node_pids() or not lives(pid), 30)


def kill_node(c):
    pid = node_pid(c)
    os.kill(pid, signal.SIGKILL)
    replaced(c, pid)


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if lives(pid):
            os.kill(pid, signal.SIGCONT)


def freeze_node(c):
    pid = node_pid(c)
    with stopped(pid):
        replaced(c, pid)  # the head ends it and starts another


def freeze_head(c):
    with stopped(c.process.pid):
        time.sleep(LASTS_S)


def kill_head(c):
    """Its nodes end with it (docs/adr/0004); whoever runs the head starts it again."""
    c.kill_head(c.node_pids())
    c.start()


def rolling_restart(c):
    for name in ("edge-a", "edge-b"):
        pid = node_pid(c, name)
        drained = c.verb("drain", name, "--restart")
        if drained.returncode:
            fail(f"drain {name}: {drained.stderr}")
        until(f"{name} serves again", lambda n=name, p=pid: c.node(n)["state"] == "serving"
              and node_pid(c, n) != p, 60)


def no_memory(c):
    with no_more_memory(node_pid(c)):
        time.sleep(LASTS_S)


def overload(c):
    """Three times what a gateway is asked otherwise takes, for as long as a fault lasts."""
    more = Load([c.a, c.b], 8, 24, 77)
    time.sleep(LASTS_S)
    c.more = more.stop()


def garbage(c):
    """Bytes of chance at every port of the cluster."""
    draw = random.Random(5)
    for _ in range(200):
        port = draw.choice([c.head, c.native, c.link, c.a, c.b])
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as s:
            s.settimeout(0.2)
            s.sendall(draw.randbytes(draw.randrange(1, 4000)))
            s.recv(100)


def bad_line(act, mend):
    def fault(c):
        act(c.line)
        time.sleep(LASTS_S)
        mend(c.line)
    return fault


def slow(line):
    line.rate, line.delay = 50_000, 0.3


def fast(line):
    line.rate, line.delay = None, 0


def resets(c):
    for _ in range(LASTS_S):
        c.line.reset()
        time.sleep(1)


class FaultCluster(Cluster):
    more = ()

    def loads(self, a):
        """What is asked, by the words that a row of the table adds to its fault."""
        return {"": Load([self.a, self.b], a.rate, a.tokens, a.seed)}

    def whole(self):
        """Both nodes serve and answer."""
        try:
            return self.serving() and all(
                outcome(port, "Are you there?", 1, **more)[0] == "answered"
                for port, more in self.doors())
        except (OSError, KeyError, StopIteration, ValueError, http.client.HTTPException):
            return False

    def doors(self):
        return [(self.a, {}), (self.b, {})]


class UplinkCluster(RemoteNodes, FaultCluster):
    """edge-b runs elsewhere, behind `line`."""
    line = None

    def loads(self, a):
        return {", at the site": Load([self.b], a.rate, a.tokens, a.seed),
                ", through the head": Load([self.head], a.rate, a.tokens, a.seed + 1,
                                           site="workshop")}

    def doors(self):
        return [(self.b, {}), (self.head, {"site": "workshop"})]


# -- scenarios: a cluster and its fault; each returns the table's rows

def here(fault):
    def scenario(a, name):
        with FaultCluster(a.collm) as c:
            return suffer(c, a, name, fault)
    return scenario


def uplink(fault):
    def scenario(a, name):
        with UplinkCluster(a.collm) as c, Relay(c.link) as c.line:
            c.join_behind("edge-b", c.line)
            return suffer(c, a, name, fault)
    return scenario


def clock_jumps(a, name):
    """Head and nodes see another day, and then this one again."""
    with OtherClock() as clock:
        if clock.environment is None:
            return [{"fault": name, "left_out": "no libfaketime on this machine"}]

        def jump(_):
            clock.set("+1d")
            time.sleep(LASTS_S)
            clock.set("+0")
        with FaultCluster(a.collm, environment=clock.environment) as c:
            return suffer(c, a, name, jump)


def disk_is_full(a, name):
    """The head's state on a small disk that something else fills: what it says, and whether
    answers go on."""
    with SmallDisk() as disk:
        if disk.path is None:
            return [{"fault": name, "left_out": "no right to mount a small disk"}]

        class Small(FaultCluster):
            def text_of(self, manifest):
                return disk.keeps_state_of(self, manifest)

        def fill(_):
            with disk.full():
                time.sleep(LASTS_S)
        with Small(a.collm) as c:
            return suffer(c, a, name, fill)


SCENARIOS = {
    "kill -9 of a node": here(kill_node),
    "SIGSTOP of a node": here(freeze_node),
    "kill -9 of the head, started again": here(kill_head),
    f"SIGSTOP of the head for {LASTS_S} s": here(freeze_head),
    "rolling restart of both nodes": here(rolling_restart),
    f"no more memory for a node for {LASTS_S} s": here(no_memory),
    "load beyond capacity": here(overload),
    "garbage at every port": here(garbage),
    f"uplink cut for {LASTS_S} s": uplink(bad_line(Relay.cut, Relay.restore)),
    f"uplink silent for {LASTS_S} s": uplink(bad_line(Relay.stall, Relay.resume)),
    f"uplink of 50 kB/s, 300 ms each way, for {LASTS_S} s": uplink(bad_line(slow, fast)),
    f"uplink reset each second for {LASTS_S} s": uplink(resets),
    "full disk of the head": disk_is_full,
    f"clock a day ahead for {LASTS_S} s, then back": clock_jumps,
}


# -- the table

def suffer(c, a, name, fault):
    """Does the fault under load; a row for each of the cluster's loads."""
    say(name)
    until("the cluster is whole", c.whole, 60)
    loads = c.loads(a)
    time.sleep(CALM_S)
    begun = time.monotonic()
    fault(c)
    over = time.monotonic()
    until(f"the cluster is whole after {name}", c.whole, WHOLE_WITHIN_S)
    whole = time.monotonic()
    time.sleep(AFTER_S)
    asked = {where: load.stop() for where, load in loads.items()}
    more, c.more = list(c.more), ()
    return [{"fault": name + where, "seconds": round(over - begun, 1),
             **accounted(name, requests + more, begun), "whole_after_s": round(whole - over, 1)}
            for where, requests in asked.items()]


def accounted(name, requests, fault_begun):
    count = counted(requests)
    if sum(count.values()) != len(requests):
        fail(f"{name}: {len(requests)} requests, accounted for: {count}")
    why = sorted({r["why"][:100] for r in requests if r["how"] == "failed"})
    flying = [r for r in requests if r["begun"] < fault_begun < r["ended"]]
    return {"requests": len(requests), "in_flight": len(flying), **count, "failed_because": why}


def markdown(r):
    lines = ["# Faults", "",
             f"`./dev bench faults`, {r['date']}, commit {r['commit']}. {r['cpu']}, {r['cores']} "
             f"cores. Two nodes of one thread, SmolLM2; {r['rate']:g} requests a second at each "
             f"node's gateway, Poisson, {r['tokens']} tokens each, streamed.", "",
             "| fault | lasted s | requests | in flight | answered | refused | failed "
             "| whole after s | why some failed |", "|---|---|---|---|---|---|---|---|---|"]
    for f in r["faults"]:
        if "left_out" in f:
            lines.append(f"| {f['fault']} | | | | | | | | not done: {f['left_out']} |")
        else:
            lines.append(f"| {f['fault']} | {f['seconds']} | {f['requests']} | {f['in_flight']} | "
                         f"{f['answered']} | {f['refused']} | {f['failed']} | {f['whole_after_s']} "
                         f"| {'; '.join(f['failed_because'])} |")
    return "\n".join([*lines, ""])


def main():
    a = arguments()
    if not Path(a.collm).exists():
        fail(f"there is no {a.collm}; ./dev build makes it")
    rows = []
    for name, scenario in SCENARIOS.items():
        if a.only in (None, name):
            rows += scenario(a, name)
    if not rows:
        fail(f"no fault is called {a.only}; there are: {', '.join(SCENARIOS)}")
    found = {"date": datetime.date.today().isoformat(), "commit": commit(), "cpu": cpu_name(),
             "cores": os.cpu_count(), "rate": a.rate, "tokens": a.tokens, "faults": rows}
    if a.only is None:
        keep(a.out, found, markdown(found))
        into_docs("faults", markdown(found))
    else:
        print(markdown(found))


if __name__ == "__main__":
    main()
