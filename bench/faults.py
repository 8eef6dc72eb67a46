"""What faults cost: a real cluster of two nodes under a steady load, one fault after the other, and
every request accounted for: answered, refused (a 429 or 503 that says when to come back) or failed.

Each row is a fault done once, while clients ask both nodes' gateways, each request streamed. `in
flight` ran when the fault began. `whole` is the time from the fault's end (its beginning, where the
cluster has to mend it) until both nodes serve and answer again.

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
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/process")]

from cluster import Cluster, lives, until  # noqa: E402
from client_load import Load, outcome  # noqa: E402
from peer.process import fail, say  # noqa: E402
from peer.report import commit, cpu_name  # noqa: E402

CALM_S = 3          # of load before a fault
AFTER_S = 5         # and after the cluster is whole
WHOLE_WITHIN_S = 90
LASTS_S = 8         # a fault that comes and goes
MARK, END = "<!-- made by ./dev bench faults -->", "<!-- end -->"


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
    """A node that gets no more address space than it has: what it asks for anew fails."""
    pid = node_pid(c)
    text = Path(f"/proc/{pid}/status").read_text()
    size = next(int(line.split()[1]) * 1024 for line in text.splitlines()
                if line.startswith("VmSize"))
    before = resource.prlimit(pid, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    time.sleep(LASTS_S)
    if lives(pid):
        resource.prlimit(pid, resource.RLIMIT_AS, before)


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


FAULTS = {
    "kill -9 of a node": kill_node,
    "SIGSTOP of a node": freeze_node,
    "kill -9 of the head, started again": kill_head,
    f"SIGSTOP of the head for {LASTS_S} s": freeze_head,
    "rolling restart of both nodes": rolling_restart,
    f"no more address space for a node for {LASTS_S} s": no_memory,
    "load beyond capacity": overload,
    "garbage at every port": garbage,
}


class FaultCluster(Cluster):
    more = ()

    def whole(self):
        """Both nodes serve and answer."""
        try:
            return self.serving() and all(
                outcome(port, "Are you there?", 1)[0] == "answered" for port in (self.a, self.b))
        except (OSError, KeyError, StopIteration, ValueError, http.client.HTTPException):
            return False


def disk_is_full(a):
    """The head's state on a disk of 4 MiB that something else fills: what it says, and whether
    answers go on. Needs the right to mount."""
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=False,
                          capture_output=True).returncode:
            return {"fault": "full disk of the head", "left_out": "no right to mount a small disk"}
        try:
            class Small(FaultCluster):
                def text_of(self, manifest):
                    return manifest.replace(f"stateDir: {self.dir.name}/state",
                                            f"stateDir: {place}/state")

            def fill(_):
                with contextlib.suppress(OSError), open(f"{place}/filler", "wb") as f:
                    while True:
                        f.write(b"x" * 65536)
                time.sleep(LASTS_S)
                os.remove(f"{place}/filler")
            with Small(a.collm) as c:
                return suffer(c, a, "full disk of the head", fill)
        finally:
            subprocess.run(["umount", "-l", place], check=False)


# -- the table

def suffer(c, a, name, fault):
    say(name)
    until("the cluster is whole", c.whole, 60)
    load = Load([c.a, c.b], a.rate, a.tokens, a.seed)
    time.sleep(CALM_S)
    begun = time.monotonic()
    fault(c)
    over = time.monotonic()
    until(f"the cluster is whole after {name}", c.whole, WHOLE_WITHIN_S)
    whole = time.monotonic()
    time.sleep(AFTER_S)
    requests = load.stop() + list(c.more)
    c.more = ()
    count = {how: sum(r["how"] == how for r in requests)
             for how in ("answered", "refused", "failed")}
    if sum(count.values()) != len(requests):
        fail(f"{name}: {len(requests)} requests, accounted for: {count}")
    why = sorted({r["why"][:100] for r in requests if r["how"] == "failed"})
    flying = [r for r in requests if r["begun"] < begun < r["ended"]]
    return {"fault": name, "seconds": round(over - begun, 1), "requests": len(requests),
            "in_flight": len(flying), **count, "failed_because": why,
            "whole_after_s": round(whole - over, 1)}


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


def into_docs(text):
    """The page that shows the table holds exactly what was measured last."""
    page = ROOT / "docs/RELIABILITY.md"
    before, rest = page.read_text(encoding="utf-8").split(MARK, 1)
    after = rest.split(END, 1)[1]
    page.write_text(before + MARK + "\n" + text.split("\n", 2)[2] + END + after, encoding="utf-8")


def main():
    a = arguments()
    if not Path(a.collm).exists():
        fail(f"there is no {a.collm}; ./dev build makes it")
    rows = []
    for name, fault in FAULTS.items():
        if a.only in (None, name):
            with FaultCluster(a.collm) as c:
                rows.append(suffer(c, a, name, fault))
    if a.only in (None, "full disk of the head"):
        rows.append(disk_is_full(a))
    if not rows:
        fail(f"no fault is called {a.only}; there are: {', '.join(FAULTS)}")
    found = {"date": datetime.date.today().isoformat(), "commit": commit(), "cpu": cpu_name(),
             "cores": os.cpu_count(), "rate": a.rate, "tokens": a.tokens, "faults": rows}
    if a.only is None:
        a.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        a.out.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
        into_docs(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
