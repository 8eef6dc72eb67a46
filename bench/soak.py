"""A long run of everything at once: two sites serve a steady load, train, promote, and lose a
node or the head now and then. At its end: is resident memory flat, is every request accounted
for, is the last quarter as fast as the first?

Memory: the largest process of each kind (head, nodes), medians of the second and of the last
quarter; processes that were started anew count from their own start. Latency: 99th percentile of
the answered requests' seconds. A request that failed must have been in flight while a process was
killed, or have come while its site was away.

With `--core 0` nodes and clients have that core alone once they are up: harder, and the others are
free for something else meanwhile.

usage: ./dev soak [--minutes 120] [--rate 1] [--kill-every 300] [--core 0]
       [--out bench/results/soak]
"""

import argparse
import datetime
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/process")]

from client_load import Load, counted  # noqa: E402
from cluster import until  # noqa: E402
from learning_cluster import LearningCluster  # noqa: E402
from peer.process import fail, say  # noqa: E402
from peer.report import commit, cpu_name, keep  # noqa: E402

SAMPLE_S = 5
AWAY_S = 30          # after a kill, requests to what was killed may fail
GROWTH_MAX = 1.05
SLOWER_MAX = 1.10


def arguments():
    build = ROOT / os.environ.get("COLLM_BUILD", "build")
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--collm", default=str(build / "bin/collm"))
    p.add_argument("--minutes", type=float, default=120)
    p.add_argument("--rate", type=float, default=1, help="requests a second at each gateway")
    p.add_argument("--kill-every", type=float, default=300, help="seconds; node, node, head, ...")
    p.add_argument("--core", type=int, help="the only one that nodes and clients use")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out", type=Path, default=ROOT / "bench/results/soak",
                   help=".json and .md are added")
    return p.parse_args()


def resident_mib(pid):
    """None where the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in text.splitlines()
                    if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return None


def keep_to(core, pids):
    """All threads of these processes on one core; not this thread, which starts heads."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            if int(thread.name) == threading.get_native_id():
                continue
            try:
                os.sched_setaffinity(int(thread.name), {core})
            except ProcessLookupError:
                pass  # it has ended


class Watch:
    """Samples memory, kills by turns, and keeps when."""

    def __init__(self, c, a):
        self.c, self.a, self.begun = c, a, time.monotonic()
        self.memory, self.kills, self.draw = {"head": [], "nodes": []}, [], random.Random(a.seed)

    def run(self):
        end, next_kill = self.begun + 60 * self.a.minutes, self.begun + self.a.kill_every
        while time.monotonic() < end:
            time.sleep(SAMPLE_S)
            self.sample()
            # None in the last minute: what it costs belongs to the run.
            if next_kill <= time.monotonic() < end - 60:
                self.kill()
                next_kill += self.a.kill_every

    def sample(self):
        try:
            pids = self.c.node_pids()
        except (OSError, KeyError, ValueError):
            return  # the head is coming back
        if self.a.core is not None:
            # Not the head: the nodes that it starts would find a machine of one core and refuse it.
            keep_to(self.a.core, [os.getpid(), *pids])
        nodes = [m for m in map(resident_mib, pids) if m is not None]
        head, at = resident_mib(self.c.process.pid), time.monotonic() - self.begun
        if head is not None and len(nodes) == 2:
            self.memory["head"].append((at, head))
            self.memory["nodes"].append((at, max(nodes)))

    def kill(self):
        victim = ("edge-a", "edge-b", "head")[len(self.kills) % 3]
        say(f"kill -9 of {victim} after {(time.monotonic() - self.begun) / 60:.1f} minutes")
        at = time.monotonic()
        if victim == "head":
            self.c.kill_head(self.c.node_pids())
            self.c.start()
        else:
            os.kill(int(self.c.node(victim)["snapshot"]["pid"]), signal.SIGKILL)
            time.sleep(1)
        until("the cluster is whole", self.c.serving, 90)
        self.kills.append({"victim": victim, "at": at - self.begun,
                           "whole_after_s": round(time.monotonic() - at, 1)})


def quarter(rows, number, seconds):
    return [v for at, v in rows if number * seconds / 4 <= at < (number + 1) * seconds / 4]


def judged(requests, watch, a):
    """What the run showed, and what of it is wrong."""
    seconds, wrong = 60 * a.minutes, []
    count = counted(requests)
    if sum(count.values()) != len(requests):
        wrong.append(f"{len(requests)} requests, accounted for {sum(count.values())}")
    for r in requests:
        begun, ended = r["begun"] - watch.begun, r["ended"] - watch.begun
        if r["how"] == "failed" and not any(begun < k["at"] + AWAY_S and ended > k["at"]
                                            for k in watch.kills):
            wrong.append(f"a request failed at {begun:.0f} s without a fault: {r['why']}")
    took = [(r["begun"] - watch.begun, r["ended"] - r["begun"])
            for r in requests if r["how"] == "answered"]
    p99 = [statistics.quantiles(quarter(took, n, seconds), n=100)[98] for n in (0, 3)]
    if p99[1] > SLOWER_MAX * p99[0]:
        wrong.append(f"p99 went from {p99[0]:.2f} to {p99[1]:.2f} s")
    memory = {}
    for kind, rows in watch.memory.items():
        memory[kind] = [statistics.median(quarter(rows, n, seconds)) for n in (1, 3)]
        if memory[kind][1] > GROWTH_MAX * memory[kind][0]:
            wrong.append(f"memory of the {kind} grew from {memory[kind][0]:.0f} to "
                         f"{memory[kind][1]:.0f} MiB")
    return {"requests": len(requests), **count, "p99_s_first_and_last_quarter": p99,
            "resident_mib_second_and_last_quarter": memory, "kills": watch.kills, "wrong": wrong}


def markdown(r):
    head, nodes = (r["resident_mib_second_and_last_quarter"][k] for k in ("head", "nodes"))
    first, last = r["p99_s_first_and_last_quarter"]
    return "\n".join([
        "# Soak", "",
        f"`./dev soak --minutes {r['minutes']:g} --rate {r['rate']:g} --kill-every "
        f"{r['kill_every']:g}{r['pinned']}`, {r['date']}, commit {r['commit']}. {r['cpu']}, "
        f"{r['cores']} cores. "
        "Two sites of one node each, SmolLM2, training and promoting meanwhile.", "",
        "| | |", "|---|---|",
        f"| requests | {r['requests']}: {r['answered']} answered, {r['refused']} refused, "
        f"{r['failed']} failed |",
        f"| rounds ended, versions promoted | {r['rounds']}, {r['promoted']} |",
        f"| processes killed | {len(r['kills'])}, whole again after at most "
        f"{max((k['whole_after_s'] for k in r['kills']), default=0)} s |",
        f"| 99th percentile of an answer, first and last quarter | {first:.2f}, {last:.2f} s |",
        f"| resident head, second and last quarter | {head[0]:.0f}, {head[1]:.0f} MiB |",
        f"| resident node, second and last quarter | {nodes[0]:.0f}, {nodes[1]:.0f} MiB |", "",
        "Wrong: " + ("; ".join(r["wrong"][:20]) or "nothing") + ".", ""])


def main():
    a = arguments()
    if not Path(a.collm).exists():
        fail(f"there is no {a.collm}; ./dev build makes it")
    with LearningCluster(a.collm, steps=16) as c:
        watch = Watch(c, a)
        load = Load([c.a, c.b], a.rate, 16, a.seed)
        try:
            watch.run()
        finally:
            requests = load.stop()
        rounds = [r["state"] for r in c.rounds() if r["state"] in ("serving", "rejected", "voided")]
    found = {"date": datetime.date.today().isoformat(), "commit": commit(), "cpu": cpu_name(),
             "cores": os.cpu_count(), "minutes": a.minutes, "rate": a.rate,
             "kill_every": a.kill_every,
             "pinned": "" if a.core is None else f" --core {a.core}", "rounds": len(rounds),
             "promoted": rounds.count("serving"), **judged(requests, watch, a)}
    keep(a.out, found, markdown(found))
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
