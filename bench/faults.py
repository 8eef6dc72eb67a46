"""What faults cost: a real cluster of two nodes under a steady load, one fault after the other, and
every request accounted for: answered, refused (a 429 or 503 that says when to come back) or failed.

First the capacity is measured: answers a second of both nodes, under clients of which each asks
again at once. Then clients ask for `--part` of it, each request streamed. Each row is a fault done
once, begun when two answers are being streamed from the node that it strikes (waited for
TWO_RUN_WITHIN_S at most). `in flight` was asked before the fault began and ended afterwards.
`whole` is the time from the fault's end (its beginning, where the cluster has to mend it) until
both nodes serve and answer again.

Behind a bad line stands a node of its own machine (`tests/process/relay.py`): asked at its own
gateway, and at the head's, whose requests for it take that line. A site of two nodes is asked at
both, too.

The table also stands in docs/RELIABILITY.md.

usage: ./dev bench faults [--part 0.5] [--only "rolling restart"]
       [--out bench/results/faults]
"""

import argparse
import collections
import contextlib
import datetime
import http.client
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/process")]

from bad_machine import HalfBodies, OtherClock, SmallDisk, no_more_memory  # noqa: E402
from cluster import Cluster, OneSite, lives, until  # noqa: E402
from client_load import Load, asked, counted, outcome  # noqa: E402
from relay import Relay  # noqa: E402
from remote_nodes import RemoteNodes  # noqa: E402
from peer.process import fail, say  # noqa: E402
from peer.report import commit, cpu_name, into_docs, keep  # noqa: E402

CALM_S = 2          # of load before a fault
TWO_RUN_WITHIN_S = 20
AFTER_S = 4         # of load after the cluster is whole
WHOLE_WITHIN_S = 90
LASTS_S = 8         # a fault that comes and goes
CLIENTS = 24        # at each gateway, while the capacity is measured
FILL_S, CALIBRATE_S = 4, 8
TIMES_CAPACITY = 3  # what is asked for in the row of too much load
LARGE = 900_000     # bytes of a body, below limits.requestBytes
HELD = 12           # such bodies, below what a gateway takes at once
POISON = " bread" * 64  # tests/support/poison.cpp: one token sixteen times over


def arguments():
    build = ROOT / os.environ.get("COLLM_BUILD", "build")
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--collm", default=str(build / "bin/collm"))
    p.add_argument("--part", type=float, default=0.5, help="of the capacity, that clients ask for")
    p.add_argument("--tokens", type=int, default=200, help="of an answer")
    p.add_argument("--only", action="append", help="the faults with this in their names")
    p.add_argument("--seed", type=int, default=1, help="of the arrivals; each row's differ")
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
        assert drained.returncode == 0, f"drain {name}: {drained.stderr}"
        until(f"{name} serves again", lambda n=name, p=pid: c.node(n)["state"] == "serving"
              and node_pid(c, n) != p, 60)


def no_memory(c):
    """Large bodies, too: small ones find buffers that are there already. Some are held by clients
    that do not end them, or what one gives back would be enough for the next."""
    with no_more_memory(node_pid(c)), HalfBodies(c.a, HELD, LARGE):
        c.besides(f", bodies of {LARGE // 1000} kB there", 8 * [c.a], 2, 1,
                  user=LARGE * "x")


def overload(c):
    """So much more that it is TIMES_CAPACITY, for as long as a fault lasts."""
    rate = TIMES_CAPACITY * c.wanted.capacity / 2 - c.wanted.rate
    c.besides("", [c.a, c.b], rate, c.wanted.tokens)


def garbage(c):
    """Bytes of chance at every port of the cluster."""
    draw = random.Random(5)
    for _ in range(200):
        port = draw.choice([c.head, c.native, c.link, c.a, c.b])
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as s:
            s.settimeout(0.2)
            s.sendall(draw.randbytes(draw.randrange(1, 4000)))
            s.recv(100)


def poison(c):
    """Asked once, at the head; over when its client has its answer."""
    one = Load([], 0, 1, 0, site="kitchen")
    one.ask(c.head, POISON)
    c.more.append((", that request", one))


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
    """`wanted`: the arguments and what was measured with them. `more`: loads that a fault adds, by
    the words of their row."""

    def __init__(self, wanted, **more):
        self.wanted, self.more = wanted, []
        super().__init__(wanted.collm, **more)

    def loads(self, rate, tokens, seed):
        """What is asked, by the words that a row of the table adds to its fault; the first gateway
        of each is of the node that is struck."""
        return [("", Load([self.a, self.b], rate, tokens, seed))]

    def besides(self, where, ports, rate, tokens, **more):
        """More clients, for as long as a fault lasts."""
        load = Load(ports, rate, tokens, 77, **more)
        self.more.append((where, load))
        time.sleep(LASTS_S)
        load.over.set()

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


class SiteCluster(OneSite, FaultCluster):
    """Both nodes are of one site."""

    def loads(self, rate, tokens, seed):
        return [(", through the head", Load([self.head], rate, tokens, seed, site="kitchen")),
                (", at the nodes", Load([self.a, self.b], rate / 2, tokens, seed + 1))]


class UplinkCluster(RemoteNodes, FaultCluster):
    """edge-b runs elsewhere, behind `line`."""
    line = None

    def loads(self, rate, tokens, seed):
        return [(", at the site", Load([self.b], rate / 2, tokens, seed)),
                (", through the head", Load([self.head], rate / 2, tokens, seed + 1,
                                            site="workshop"))]

    def doors(self):
        return [(self.b, {}), (self.head, {"site": "workshop"})]


# -- scenarios: a cluster and its fault; each returns the table's rows

def here(fault, kind=FaultCluster):
    def scenario(a, name):
        with kind(a) as c:
            return suffer(c, name, fault)
    return scenario


def uplink(fault):
    def scenario(a, name):
        with UplinkCluster(a) as c, Relay(c.link) as c.line:
            c.join_behind("edge-b", c.line)
            return suffer(c, name, fault)
    return scenario


def memory_ends(a, name):
    rows = here(no_memory)(a, name)
    if not any(r.get("failed") or r.get("refused") for r in rows):
        rows[-1]["failed_because"] = ["none did: the memory that it had was enough"]
    return rows


def poisoned(a, name):
    library = Path(a.collm).parents[1] / "tests/libpoison.so"
    if not library.exists():
        return [{"fault": name, "left_out": "no libpoison.so: ./dev build poison makes it"}]
    with SiteCluster(a, environment={"LD_PRELOAD": str(library), "COLLM_POISON": "crash"}) as c:
        return suffer(c, name, poison)


def clock_jumps(a, name):
    """Head and nodes see another day, and then this one again."""
    with OtherClock() as clock:
        if clock.environment is None:
            return [{"fault": name, "left_out": "no libfaketime on this machine"}]

        def jump(_):
            clock.set("+1d")
            time.sleep(LASTS_S)
            clock.set("+0")
        with FaultCluster(a, environment=clock.environment) as c:
            return suffer(c, name, jump)


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
        with Small(a) as c:
            return suffer(c, name, fill)


SCENARIOS = {
    "kill -9 of a node": here(kill_node),
    "SIGSTOP of a node": here(freeze_node),
    "kill -9 of the head, started again": here(kill_head),
    f"SIGSTOP of the head for {LASTS_S} s": here(freeze_head),
    "rolling restart of a site of two nodes": here(rolling_restart, SiteCluster),
    "a request that ends each process that takes it": poisoned,
    f"no more memory for a node for {LASTS_S} s": memory_ends,
    f"{TIMES_CAPACITY} times the capacity for {LASTS_S} s": here(overload),
    "garbage at every port": here(garbage),
    f"uplink cut for {LASTS_S} s": uplink(bad_line(Relay.cut, Relay.restore)),
    f"uplink silent for {LASTS_S} s": uplink(bad_line(Relay.stall, Relay.resume)),
    f"uplink of 50 kB/s, 300 ms each way, for {LASTS_S} s": uplink(bad_line(slow, fast)),
    f"uplink reset each second for {LASTS_S} s": uplink(resets),
    "full disk of the head": disk_is_full,
    f"clock a day ahead for {LASTS_S} s, then back": clock_jumps,
}


# -- the table

def suffer(c, name, fault):
    """Does the fault under load; a row for each of the cluster's loads."""
    say(name)
    until("the cluster is whole", c.whole, 60)
    loads = c.loads(c.wanted.rate, c.wanted.tokens,
                    c.wanted.seed + 100 * list(SCENARIOS).index(name))
    try:
        time.sleep(CALM_S)
        two_run(load for _, load in loads)
        begun = time.monotonic()
        fault(c)
        over = time.monotonic()
        until(f"the cluster is whole after {name}", c.whole, WHOLE_WITHIN_S)
        whole = time.monotonic()
        time.sleep(AFTER_S)
    finally:
        ended = collections.defaultdict(list)
        for where, load in loads + c.more:
            ended[where] += load.stop()
    return [{"fault": name + where, "seconds": round(over - begun, 1),
             **accounted(name, requests, begun), "whole_after_s": round(whole - over, 1)}
            for where, requests in ended.items()]


def two_run(loads):
    """Asks two more at once of each, and again where they did not run together; not for ever:
    `in flight` tells what there was."""
    loads, end = list(loads), time.monotonic() + TWO_RUN_WITHIN_S
    while time.monotonic() < end:
        for load in loads:
            load.ask_now(2)
        soon = time.monotonic() + 2
        while time.monotonic() < soon:
            if all(load.streamed_now() >= 2 for load in loads):
                return
            time.sleep(0.02)


def accounted(name, requests, fault_begun):
    count = counted(requests)
    if sum(count.values()) != len(requests):
        fail(f"{name}: {len(requests)} requests, accounted for: {count}")
    why = collections.Counter(short(r["why"]) for r in requests if r["how"] == "failed")
    flying = [r for r in requests if r["begun"] < fault_begun < r["ended"]]
    return {"requests": len(requests), "in_flight": len(flying), **count,
            "failed_because": [f"{n} × {reason}" for reason, n in why.most_common()]}


def short(why):
    """What an exception or an error's body says, without what stands around it."""
    plain = re.sub(r'^(\d+: )\{.*?"message": ?"([^"]*).*', r"\1\2", why, flags=re.DOTALL)
    plain = re.sub(r"^[A-Z]\w+: (\[Errno \d+\] )?", "", plain)
    plain = re.sub(r"\brequest [0-9a-f]{16}\b", "the request", plain)
    return " ".join(plain.split()).replace("|", "/")[:80]


def capacity(a):
    """Answers a second of both nodes: tokens a second under many clients, over those of one."""
    say("the capacity")
    pieces, over, lock = [], threading.Event(), threading.Lock()

    def token_came():
        if over.is_set():
            raise ConnectionAbortedError  # enough was seen: the client goes
        with lock:
            pieces.append(time.monotonic())

    def client(port, i):
        while not over.is_set():
            end = asked(port, f"Client {i}", a.tokens, on_piece=token_came)
            if end["how"] != "answered":
                over.wait(end.get("retry_s", 1))
    with FaultCluster(a) as c:
        threads = [threading.Thread(target=client, args=(port, i))
                   for port in (c.a, c.b) for i in range(CLIENTS)]
        for t in threads:
            t.start()
        time.sleep(FILL_S)
        begun = len(pieces)
        time.sleep(CALIBRATE_S)
        came = len(pieces) - begun
        over.set()
        for t in threads:
            t.join()
    return came / CALIBRATE_S / a.tokens


def markdown(r):
    lines = ["# Faults", "",
             f"`./dev bench faults`, {r['date']}, commit {r['commit']}. {r['cpu']}, {r['cores']} "
             f"cores, the clients on them, too. Two nodes of one thread, SmolLM2; answers of "
             f"{r['tokens']} tokens, streamed; capacity {r['capacity']:.1f} answers a second, of "
             f"which clients ask for {r['part']:g}, Poisson.", "",
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
    chosen = {name: scenario for name, scenario in SCENARIOS.items()
              if a.only is None or any(part in name for part in a.only)}
    if not chosen:
        fail(f"no fault has {a.only} in its name; there are: {', '.join(SCENARIOS)}")
    a.capacity = capacity(a)
    a.rate = a.part * a.capacity / 2
    rows, broken = [], []
    for name, scenario in chosen.items():
        try:
            rows += scenario(a, name)
        except Exception as e:  # the others are done nevertheless, and this run has failed
            traceback.print_exc()
            broken.append(name)
            rows.append({"fault": name, "left_out": short(f"{type(e).__name__}: {e}")})
    found = {"date": datetime.date.today().isoformat(), "commit": commit(), "cpu": cpu_name(),
             "cores": os.cpu_count(), "capacity": a.capacity, "part": a.part, "tokens": a.tokens,
             "faults": rows}
    if a.only is None:
        keep(a.out, found, markdown(found))
        into_docs("faults", markdown(found))
    else:
        print(markdown(found))
    if broken:
        fail("not done, for the reasons above: " + "; ".join(broken))


if __name__ == "__main__":
    main()
