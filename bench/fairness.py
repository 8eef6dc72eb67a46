"""Fairness between tenants on a real gateway: keys, one engine thread; open loop, Poisson.

A quiet tenant asks for 0.3 of the capacity: alone, beside a neighbour that asks for the rest (0.7),
and beside one that asks for three times the capacity and does not care about refusals; in turns, so
that what else the machine does meets all alike. Then the second question: of a tenant that asks for
three times the capacity for a while, and whose clients come back when they are told, how many are
let in on their return?

The table also stands in docs/RELIABILITY.md.

usage: ./dev bench fairness [--seconds 25] [--turns 3] [--words 120] [--out bench/results/fairness]
"""

import argparse
import datetime
import hashlib
import os
import random
import statistics
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/process")]

from client_load import Load, asked, counted  # noqa: E402
from cluster import Cluster  # noqa: E402
from peer.process import fail, say  # noqa: E402
from peer.report import commit, cpu_name, into_docs, keep  # noqa: E402

TOKENS = 48          # of an answer
CALIBRATE_S, CLIENTS = 30, 16
BURST_S = 20
KEYS = {"quiet": "fairness-quiet", "loud": "fairness-loud"}


def arguments():
    build = ROOT / os.environ.get("COLLM_BUILD", "build")
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--collm", default=str(build / "bin/collm"))
    p.add_argument("--seconds", type=float, default=25, help="of a turn")
    p.add_argument("--turns", type=int, default=3, help="of each neighbour")
    p.add_argument("--words", type=int, default=120, help="of a question; fewer on a slow machine")
    p.add_argument("--out", type=Path, default=ROOT / "bench/results/fairness",
                   help=".json and .md are added")
    return p.parse_args()


class Tenants(Cluster):
    def text_of(self, manifest):
        tenants = "".join(
            f"    - {{name: {name}, site: kitchen,"
            f" keySha256: {hashlib.sha256(key.encode()).hexdigest()}}}\n"
            for name, key in KEYS.items())
        native = f", capnp: 127.0.0.1:{self.native}"  # it has no keys, so it stands beside none
        return manifest.replace(native, "") + "  tenants:\n" + tenants


def question(seed, words):
    """Another text for each number, no two alike from the first word on."""
    def text(number):
        draw = random.Random(f"{seed} {number}")
        return " ".join(draw.choice(("salt", "bread", "river", "lamp", "stone", "green", "seven",
                                     "paper")) for _ in range(words)) + f" {number}"
    return text


def capacity(c, words):
    """Answers a second to clients of which each asks again at once."""
    over, answered = threading.Event(), []

    def client(i):
        number = 0
        while not over.is_set():
            number += 1
            end = asked(c.a, question(f"client {i}", words)(number), TOKENS, KEYS["loud"])
            if end["how"] == "answered":
                answered.append(time.monotonic())
            else:
                over.wait(end.get("retry_s", 1))
    threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
    for t in threads:
        t.start()
    begun = time.monotonic() + CALIBRATE_S / 2  # what is learnt first does not count
    time.sleep(CALIBRATE_S)
    over.set()
    until = time.monotonic()
    for t in threads:
        t.join()
    return sum(begun < at <= until for at in answered) / (until - begun)


def turn(c, a, texts, quiet_rate, loud_rate, seed):
    """(the quiet tenant's requests, the loud one's): at the same times for all `texts`, whose words
    are their own, or the cache would know them."""
    loads = [Load([c.a], quiet_rate, TOKENS, seed, question(f"quiet {texts}", a.words),
                  KEYS["quiet"])]
    if loud_rate:
        loads.append(Load([c.a], loud_rate, TOKENS, 1000 + seed,
                          question(f"loud {texts}", a.words), KEYS["loud"]))
    time.sleep(a.seconds)
    ended = [load.stop() for load in reversed(loads)]  # the quiet one never asks alone
    return ended[-1], ended[0] if loud_rate else []


def beside_neighbours(c, a, full):
    """By neighbour: what both asked and got."""
    neighbours = {"alone": 0, "polite": 0.7 * full, "noisy": 3 * full}
    quiet, loud = ({n: [] for n in neighbours} for _ in range(2))
    for i in range(a.turns):
        for n, rate in neighbours.items():
            say(f"the quiet tenant, neighbour: {n}, turn {i + 1}")
            ours, theirs = turn(c, a, f"{n} {i}", 0.3 * full, rate, 10 * i)
            quiet[n] += ours
            loud[n] += theirs
    return {n: {"quiet": told(quiet[n]), "loud": told(loud[n])} for n in neighbours}


def told(requests):
    count = counted(requests)
    if sum(count.values()) != len(requests):
        fail(f"{len(requests)} requests, accounted for: {count}")
    answered = [r for r in requests if r["how"] == "answered"]
    out = {"asked": len(requests), **count}
    if len(answered) > 1:
        out["ttft_ms"] = spread([1000 * r["first_s"] for r in answered])
        out["tpot_ms"] = spread([1000 * (r["last_s"] - r["first_s"]) / (TOKENS - 1)
                                 for r in answered])
    return out


def spread(values):
    at = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(at[49], 1), "p90": round(at[89], 1), "p99": round(at[98], 1)}


def who_comes_back(c, a, full):
    """Clients of one tenant at three times the capacity; who is refused comes back once, when it
    was told."""
    say("clients that come back when they are told")
    first, returned, lock, clients = [], [], threading.Lock(), []

    def client(number):
        text = question("burst", a.words)(number)
        end = asked(c.a, text, TOKENS, KEYS["quiet"])
        with lock:
            first.append(end)
        if end["how"] != "refused":
            return
        time.sleep(end["retry_s"] + 0.1)  # a little late, as clients are
        again = asked(c.a, text, TOKENS, KEYS["quiet"])
        with lock:
            returned.append({**again, "told_s": end["retry_s"]})

    draw, number, over = random.Random(9), 0, time.monotonic() + BURST_S
    while time.monotonic() < over:
        time.sleep(draw.expovariate(3 * full))
        number += 1
        clients.append(threading.Thread(target=client, args=(number,)))
        clients[-1].start()
    for t in clients:
        t.join()
    let_in = sum(r["how"] == "answered" for r in returned)
    return {"asked": len(first), "refused": sum(r["how"] == "refused" for r in first),
            "failed": sum(r["how"] == "failed" for r in first + returned),
            "came_back": len(returned), "let_in": let_in,
            "share": round(let_in / max(1, len(returned)), 3),
            "told_s": spread([r["told_s"] for r in returned]) if len(returned) > 1 else {}}


def moved(neighbours, beside, what):
    """The quiet tenant's p99 beside the noisy neighbour, against another one, percent."""
    noisy, other = (neighbours[n]["quiet"][what]["p99"] for n in ("noisy", beside))
    return round(100 * (noisy / other - 1), 1)


def markdown(r):
    lines = ["# Fairness", "",
             f"`./dev bench fairness --words {r['words']}`, {r['date']}, "
             f"commit {r['commit']}. {r['cpu']}, {r['cores']} cores, the clients on them, too. "
             f"One engine thread, SmolLM2, {TOKENS} tokens an answer, {r['words']} words a "
             f"question; capacity {r['capacity']:.1f} answers a "
             "second. The quiet tenant asks for 0.3 of it.", "",
             "| neighbour asks for | quiet: asked | refused | failed | TTFT p50, p90, p99 ms | "
             "TPOT p50, p90, p99 ms | loud: asked | refused |", "|---|---|---|---|---|---|---|---|"]
    names = {"alone": "nothing", "polite": "0.7 of it", "noisy": "3 times it"}
    for n, row in r["neighbours"].items():
        q, loud = row["quiet"], row["loud"]
        figures = [", ".join(f"{q[what][p]:g}" for p in ("p50", "p90", "p99"))
                   for what in ("ttft_ms", "tpot_ms")]
        lines.append(f"| {names[n]} | {q['asked']} | {q['refused']} | {q['failed']} | "
                     f"{figures[0]} | {figures[1]} | {loud['asked']} | {loud['refused']} |")
    m, b = r["moved_percent"], r["burst"]
    lines += ["", f"Against the polite neighbour the noisy one moved the quiet tenant's p99 of "
              f"first tokens by {m['polite']['ttft_ms']:+g} %, of the others by "
              f"{m['polite']['tpot_ms']:+g} %; against none by {m['alone']['ttft_ms']:+g} % and "
              f"{m['alone']['tpot_ms']:+g} %.", "",
              f"Three times the capacity for {BURST_S} s, from one tenant: {b['refused']} of "
              f"{b['asked']} refused and told to come back after {b['told_s'].get('p50', 0):g} s "
              f"(median); of {b['came_back']} that did, {b['let_in']} were let in "
              f"({100 * b['share']:.0f} %).", ""]
    return "\n".join(lines)


def main():
    a = arguments()
    if not Path(a.collm).exists():
        fail(f"there is no {a.collm}; ./dev build makes it")
    with Tenants(a.collm) as c:
        full = capacity(c, a.words)
        neighbours = beside_neighbours(c, a, full)
        burst = who_comes_back(c, a, full)
    found = {"date": datetime.date.today().isoformat(), "commit": commit(), "cpu": cpu_name(),
             "cores": os.cpu_count(), "seconds": a.seconds, "turns": a.turns, "words": a.words,
             "capacity": full, "neighbours": neighbours, "burst": burst,
             "moved_percent": {beside: {what: moved(neighbours, beside, what)
                                        for what in ("ttft_ms", "tpot_ms")}
                               for beside in ("polite", "alone")}}
    keep(a.out, found, markdown(found))
    into_docs("fairness", markdown(found))


if __name__ == "__main__":
    main()
