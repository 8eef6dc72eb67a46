"""A long run of everything at once: two sites serve a steady load and train on data that grow, so
that there is always something to learn; versions are promoted, and in the first half a node or the
head is lost now and then. At its end: is resident memory flat, is every request accounted for, is
the last quarter as fast as the first?

Memory: the largest process of each kind (head, nodes), medians of the third and of the last
quarter, in which every process lives on. Latency: 99th percentile of the answered requests'
seconds. A request that failed must have been in flight while a process was killed, or have come
while its site was away.

With `--core 0` nodes and clients have that core alone once they are up: harder, and the others are
free for something else meanwhile.

usage: ./dev soak [--minutes 120] [--rate 1] [--kill-every 300] [--grow-every 300] [--core 0]
       [--steps 16] [--out bench/results/soak]
"""

import argparse
import datetime
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
from learning_cluster import LearningCluster, chat  # noqa: E402
from peer.process import fail, say  # noqa: E402
from peer.report import commit, cpu_name, keep  # noqa: E402

SAMPLE_S = 5
ROWS = 120           # a file of a site's data
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
    p.add_argument("--grow-every", type=float, default=300,
                   help="seconds; then each site has more rows, of a new kind")
    p.add_argument("--steps", type=int, default=16, help="of a round")
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


class GrowingCluster(LearningCluster):
    """Whose sites' data are folders, to which more is added."""

    def data_of(self, site):
        folder = Path(self.dir.name) / site
        folder.mkdir()
        self.add(site, 0)
        return folder

    def add(self, site, number):
        """One file more: questions of a kind whose answer has to be learned."""
        file = Path(self.dir.name) / site / f"{number}.jsonl"
        answer = f"SHELF {random.Random(f'{site} {number}').randrange(1000)}"
        half = file.with_suffix(".half")
        half.write_text("".join(chat(f"Where does order {i} of lot {number} go?", answer)
                                for i in range(ROWS)), encoding="utf-8")
        half.rename(file)


class Watch:
    """Samples memory, lets data grow, kills by turns, and keeps when."""

    def __init__(self, c, a):
        self.c, self.a, self.begun = c, a, time.monotonic()
        self.memory, self.kills, self.added = {"head": [], "nodes": []}, [], 0

    def run(self):
        end, half = (self.begun + 60 * self.a.minutes * part for part in (1, 0.5))
        next_kill, next_rows = (self.begun + s for s in (self.a.kill_every, self.a.grow_every))
        while time.monotonic() < end:
            time.sleep(SAMPLE_S)
            self.sample()
            if next_kill <= time.monotonic() < half:
                self.kill()
                next_kill += self.a.kill_every
            if next_rows <= time.monotonic():
                self.added += 1
                for site in self.c.data:
                    self.c.add(site, self.added)
                next_rows += self.a.grow_every

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
        memory[kind] = [statistics.median(quarter(rows, n, seconds)) for n in (2, 3)]
        if memory[kind][1] > GROWTH_MAX * memory[kind][0]:
            wrong.append(f"memory of the {kind} grew from {memory[kind][0]:.0f} to "
                         f"{memory[kind][1]:.0f} MiB")
    return {"requests": len(requests), **count, "p99_s_first_and_last_quarter": p99,
            "resident_mib_third_and_last_quarter": memory, "kills": watch.kills, "wrong": wrong}


def markdown(r):
    head, nodes = (r["resident_mib_third_and_last_quarter"][k] for k in ("head", "nodes"))
    first, last = r["p99_s_first_and_last_quarter"]
    return "\n".join([
        "# Soak", "",
        f"`./dev soak --minutes {r['minutes']:g} --rate {r['rate']:g} --kill-every "
        f"{r['kill_every']:g} --grow-every {r['grow_every']:g} --steps {r['steps']}{r['pinned']}`, "
        f"{r['date']}, commit {r['commit']}. {r['cpu']}, {r['cores']} cores. "
        "Two sites of one node each, SmolLM2, training and promoting meanwhile; every "
        f"{r['grow_every']:g} s a site has {ROWS} rows more, of a new kind. Processes "
        "are killed in the first half.", "",
        "| | |", "|---|---|",
        f"| requests | {r['requests']}: {r['answered']} answered, {r['refused']} refused, "
        f"{r['failed']} failed |",
        f"| rounds ended, versions promoted | {r['rounds']}, {r['promoted']} |",
        f"| files of rows added, a site | {r['added']} |",
        f"| processes killed | {len(r['kills'])}, whole again after at most "
        f"{max((k['whole_after_s'] for k in r['kills']), default=0)} s |",
        f"| 99th percentile of an answer, first and last quarter | {first:.2f}, {last:.2f} s |",
        f"| resident head, third and last quarter | {head[0]:.0f}, {head[1]:.0f} MiB |",
        f"| resident node, third and last quarter | {nodes[0]:.0f}, {nodes[1]:.0f} MiB |", "",
        "Wrong: " + ("; ".join(r["wrong"][:20]) or "nothing") + ".", ""])


def main():
    a = arguments()
    if not Path(a.collm).exists():
        fail(f"there is no {a.collm}; ./dev build makes it")
    runs = commit()  # what begins now, not what is committed meanwhile
    with GrowingCluster(a.collm, steps=a.steps) as c:
        watch = Watch(c, a)
        load = Load([c.a, c.b], a.rate, 16, a.seed)
        try:
            watch.run()
        finally:
            requests = load.stop()
        rounds = [r["state"] for r in c.rounds() if r["state"] in ("serving", "rejected", "voided")]
    found = {"date": datetime.date.today().isoformat(), "commit": runs, "cpu": cpu_name(),
             "cores": os.cpu_count(), "minutes": a.minutes, "rate": a.rate,
             "kill_every": a.kill_every, "grow_every": a.grow_every, "steps": a.steps,
             "added": watch.added,
             "pinned": "" if a.core is None else f" --core {a.core}", "rounds": len(rounds),
             "promoted": rounds.count("serving"), **judged(requests, watch, a)}
    keep(a.out, found, markdown(found))
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
