"""kill -9 at every durable call of a round, and what came of it, as a table: of the head's actors
on virtual time (learning_crash_test), then of real processes, the head and a node.

In each round of a cluster its head, or its node, dies at one call after which its files differ
(a write: half of it is written; a sync, a rename, a removal: it is done, and nobody was told),
another one in each round, until there is none left. Whoever died is started again over the same
files. Each round must end in the same bytes as that round of a cluster that nothing disturbed.

usage: ./dev kills [--steps 100] [--lanes 4] [--out bench/results/kill_everywhere]
"""
import argparse
import collections
import concurrent.futures
import datetime
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/process")]

from killed import COURSE, KilledCluster  # noqa: E402
from peer.process import fail, say  # noqa: E402
from peer.report import commit, cpu_name, keep  # noqa: E402

STATES = ["not opened", *dict.fromkeys(COURSE.values())]


def arguments():
    build = ROOT / os.environ.get("COLLM_BUILD", "build")
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--build", type=Path, default=build)
    p.add_argument("--steps", type=int, default=100,
                   help="of a round; a node has a checkpoint after every 16")
    p.add_argument("--lanes", type=int, default=4, help="clusters at a time whose heads die")
    p.add_argument("--out", type=Path, default=ROOT / "bench/results/kill_everywhere",
                   help=".json and .md are added")
    return p.parse_args()


def cluster(a):
    return KilledCluster(str(a.build / "bin/collm"), str(a.build / "tests/libkill_at_write.so"),
                         a.steps)


def walk(a, who, lane, lanes):
    """The kills of one cluster, at each `lanes`-th call from `lane` on, and what its rounds came
    to; the last one ended before its call."""
    kills, rounds = [], []
    with cluster(a) as c:
        for place in itertools.count(lane, lanes):
            number = len(rounds) + 1
            try:
                died = c.play(number, [(who, place)])
                rounds.append(c.sums(number))
                c.take_back(number)
            except Exception as e:
                raise AssertionError(f"{who} killed at its durable call {place}: {e}\n"
                                     f"{c.said()[-4000:]}") from e
            if not died:
                return kills, rounds
            kills.append({"place": place, "round": number, **died[0]})
            say(f"{who} {place}: {died[0]['call']}, {died[0]['state']}")


def undisturbed(a, rounds):
    with cluster(a) as c:
        out = []
        for number in range(1, rounds + 1):
            c.play(number)
            out.append(c.sums(number))
            c.take_back(number)
        return out


def walked(a):
    """All kills, each with whether its round ended in the same bytes."""
    lanes = [("head", lane, a.lanes) for lane in range(1, a.lanes + 1)] + [("edge-b", 1, 1)]
    with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
        walks = list(pool.map(lambda lane: walk(a, *lane), lanes))
    calm = undisturbed(a, max(len(rounds) for _, rounds in walks))
    kills = []
    for found, rounds in walks:
        for k in found:
            kills.append({**k, "equal": rounds[k["round"] - 1] == calm[k["round"] - 1]})
        if rounds[-1] != calm[len(rounds) - 1]:
            fail("a round in which nobody died any more ended in other bytes")
    return sorted(kills, key=lambda k: (k["who"] != "head", k["place"]))


def table(kills):
    rows = ["| who died | the round was | kills | bytes equal afterwards |", "|---|---|---|---|"]
    for who in ("head", "edge-b"):
        of_who = [k for k in kills if k["who"] == who]
        for state in STATES:
            of_state = [k for k in of_who if k["state"] == state]
            if of_state:
                rows.append(f"| {who} | {state} | {len(of_state)} | "
                            f"{sum(k['equal'] for k in of_state)} |")
        rows.append(f"| {who} | all | {len(of_who)} | {sum(k['equal'] for k in of_who)} |")
    return "\n".join(rows)


def calls(kills):
    """The kinds of call, most frequent first."""
    names = {"write": "half of a write", "pwrite64": "half of a write", "fsync": "a sync",
             "fdatasync": "a sync", "rename": "a rename"}
    count = collections.Counter(names.get(k["call"].split()[0], "a removal") for k in kills)
    return ", ".join(f"{name} {n}" for name, n in count.most_common())


def virtual(a):
    """What learning_crash_test found, in its own words."""
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        done = subprocess.run([a.build / "bin/learning_crash_test", "--gtest_brief=1",
                               "--gtest_filter=*at_any_durable_call*"], check=False,
                              env=os.environ | {"COLLM_KILL_LOG": log}, stdout=subprocess.PIPE)
        if done.returncode:
            fail(done.stdout.decode())
        with open(log, encoding="utf-8") as f:
            return f.read()


def main():
    a = arguments()
    words = virtual(a)
    kills = walked(a)
    found = {"date": datetime.date.today().isoformat(), "commit": commit(), "cpu": cpu_name(),
             "cores": os.cpu_count(), "kills": kills}
    keep(a.out, found, f"""\
# Kill -9 at every durable call of a round

{words}
## Real processes

`./dev kills`, {found['date']}, commit {found['commit']}. {found['cpu']}, {found['cores']} cores.
A head and two nodes, each a process, a tiny random model. In every round one process dies, at the
n-th call of that round that changes its files, for every n: {calls(kills)}. It is
started again over the same files. Equal: the digests of every update, of the sum, of the sum
without one of them and of the version, the tokens, and the version's number are those of the same
round in a cluster that nothing disturbed.

{table(kills)}
""")
    if not all(k["equal"] for k in kills):
        fail("the rounds above did not all end in the same bytes")


if __name__ == "__main__":
    main()
