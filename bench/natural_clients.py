"""Clients whose data differ by nature (dialogue services, speakers of plays, annotators): what does
each gain alone, together by federation, and with all data in one place? natural_clients_bench (its
head says what an arm is) trains one arm with one seed; this script divides the rows, runs what is
missing, one thread a process, and writes the tables. A result is kept in BUILD/natural_clients as
it ends, so a run that was stopped goes on.

A row belongs to report (25 of 100), calibration (15) or training by the hash of its dialogue or
prompt: no row is trained on that is scored. A dialogue gives one sample for each answer of the
assistant. Learning rates are chosen for each arm apart, by the calibration rows and another seed.

usage: ./dev bench natural_clients --data DIR [--file shakespeare_by_speaker.jsonl] [--clients 6]
       [--seeds 1,2,3] [--processes 2] [--out bench/results/natural_clients] [key=value …]
"""

import argparse
import collections
import concurrent.futures
import datetime
import hashlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from peer.report import commit, cpu_name, keep, sha256  # noqa: E402

CACHE = Path(os.environ.get("COLLM_CACHE", Path.home() / ".cache/collm"))
SETTINGS = {"round": "5", "tokens": "384", "sample": "160", "completion": "96", "warmup": "4",
            "rank": "8", "alpha": "16"}
STEPS = 40
# Beyond the matched step: what those reach by the time that the rounds took. Before it: alone
# may have been at its best there.
GLANCES = {"alone": "10,20,30,40,50", "pooled_one": "40,45,50"}
FEDERATED = ("fedavg", "rolora")
ARMS = (*FEDERATED, "alone", "pooled", "pooled_one")
RATES = {"alone": ("5e-4", "1e-3", "2e-3", "4e-3"), "fedavg": ("1e-3", "2e-3", "4e-3"),
         "rolora": ("1e-3", "2e-3", "4e-3", "8e-3"), "pooled": ("5e-4", "1e-3", "2e-3", "4e-3")}
RATE_OF = {"pooled_one": "alone"}  # not calibrated for itself
CALIBRATION = {"seed": "9", "glances": "25", "clients": 3}
HELD_OUT_ROWS = 24


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--data", required=True, type=Path, help="the folder of the JSONL files")
    p.add_argument("--file", default="shakespeare_by_speaker.jsonl", help="rows with 'client'")
    p.add_argument("--clients", type=int, default=6, help="those with most rows")
    p.add_argument("--seeds", default="1,2,3")
    p.add_argument("--processes", type=int, default=os.cpu_count())
    p.add_argument("--model", default=CACHE / "models/smollm2-135m-instruct.gguf", type=Path)
    p.add_argument("--build", default=os.environ.get("COLLM_BUILD", "build"))
    p.add_argument("--out", default="bench/results/natural_clients",
                   help="writes OUT.json, OUT.md")
    p.add_argument("--calibrate", action="store_true", help="learning rates only, no study")
    p.add_argument("--no-reference", action="store_true", help="leave int8 beside f32 out")
    p.add_argument("settings", nargs="*", help="key=value, of natural_clients_bench")
    return p.parse_args()


# -- rows

def hashed(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def part_of(group):
    place = hashed(group) % 100
    return "report" if place < 25 else "calibration" if place < 40 else "train"


def samples_of(row):
    """A dialogue gives one for each answer; a prompt and its completion one."""
    if "messages" not in row:
        yield row["prompt"], {"prompt": row["prompt"], "completion": row["completion"]}
        return
    turns = [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
    group = str(row.get("dialogue_id", turns[0]["content"]))
    for i, turn in enumerate(turns):
        if turn["role"] == "assistant" and i > 0:
            yield group, {"messages": turns[:i + 1]}


def divided(lines, clients):
    """part -> client -> samples, of the clients with most rows."""
    rows = [json.loads(line) for line in lines]
    counts = collections.Counter(str(r["client"]) for r in rows)
    chosen = sorted(counts, key=lambda c: (-counts[c], c))[:clients]
    parts = {p: {c: [] for c in chosen} for p in ("train", "calibration", "report")}
    for row in rows:
        if str(row["client"]) in chosen:
            for group, sample in samples_of(row):
                parts[part_of(group)][str(row["client"])].append(sample)
    return parts


def some(samples):
    """Not always the first turns of the first dialogues."""
    return sorted(samples, key=lambda s: hashed(json.dumps(s)))[:HELD_OUT_ROWS]


def write_rows(parts, judged, clients, file):
    with file.open("w") as out:
        for client in clients:
            for sample in parts["train"][client]:
                out.write(json.dumps({"client": client, "set": "train", **sample}) + "\n")
            for sample in some(parts[judged][client]):
                out.write(json.dumps({"client": client, "set": "held_out", **sample}) + "\n")
    return file


# -- runs

class Runner:
    """Runs of one file of rows; each is kept under what it depends on: program, model, rows and
    settings."""

    def __init__(self, args, settings):
        self.args, self.settings = args, settings
        self.folder = ROOT / args.build / "natural_clients"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.bench = ROOT / args.build / "bin/natural_clients_bench"
        self.on = [sha256(self.bench), sha256(args.model)]

    def rows(self, parts, judged, clients):
        file = self.folder / f"rows-{os.getpid()}.part"
        write_rows(parts, judged, clients, file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        return file.rename(self.folder / f"rows-{judged}-{digest}.jsonl")

    def run(self, rows, job):
        """Lines of one arm with one seed."""
        words = [f"{k}={v}" for k, v in {**self.settings, **job}.items()]
        key = " ".join([*self.on, rows.name, *sorted(words)])
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        kept = self.folder / f"{job['arm']}-{job['seed']}-{name}.jsonl"
        if not kept.exists():
            print("running", *[f"{k}={v}" for k, v in job.items()], file=sys.stderr, flush=True)
            done = subprocess.run(
                [self.bench, self.args.model, CACHE / "bases", rows, *words], cwd=ROOT, text=True,
                stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
            if done.returncode:
                sys.exit(f"natural_clients_bench {' '.join(words)} failed for the reason above")
            part = kept.with_suffix(".part")
            part.write_text(done.stdout)
            part.rename(kept)
        return [json.loads(line) for line in kept.read_text().splitlines()]

    def all(self, rows, jobs):
        with concurrent.futures.ThreadPoolExecutor(self.args.processes) as pool:
            runs = list(pool.map(lambda job: self.run(rows, job), jobs))
        return list(zip(jobs, runs))


def mean_loss(line):
    return statistics.mean(c["loss"] for c in line["clients"].values())


def calibrated(runner, parts, clients):
    """arm -> rate, and the losses that say so."""
    rows = runner.rows(parts, "calibration", clients[:CALIBRATION["clients"]])
    jobs = [{"arm": arm, "seed": CALIBRATION["seed"], "glances": CALIBRATION["glances"],
             "rate": rate} for arm in RATES for rate in RATES[arm]]
    losses = {arm: {} for arm in RATES}
    for job, lines in runner.all(rows, jobs):
        losses[job["arm"]][job["rate"]] = mean_loss(lines[-1])
    rates = {arm: min(of, key=of.get) for arm, of in losses.items()}
    return {arm: rates[RATE_OF.get(arm, arm)] for arm in ARMS}, losses


def study(runner, rows, rates, seeds):
    jobs = [{"arm": arm, "seed": seed, "rate": rates[arm],
             "glances": GLANCES.get(arm, f"{STEPS // 2},{STEPS}")}
            for seed in seeds for arm in ARMS]
    base = [{"arm": "base", "seed": seeds[0]}]
    return [line for _, lines in runner.all(rows, base + jobs) for line in lines]


def int8_beside_f32(runner, rows, rates, seed):
    """The loss curve of one arm on both bases: same adapter, same batches."""
    arm = "pooled_one"
    job = {"arm": arm, "seed": seed, "rate": rates[arm], "glances": GLANCES[arm]}
    int8, f32 = (runs[-1] for _, runs in runner.all(rows, [job, {**job, "precision": "f32"}]))
    ours, exact = int8["batch_losses"], f32["batch_losses"]
    return {"arm": arm, "seed": seed, "steps": len(exact), "tokens": f32["tokens_of_all"],
            "loss_gap": abs(sum(ours) / sum(exact) - 1),
            "largest_step_gap": max(abs(a / b - 1) for a, b in zip(ours, exact, strict=True)),
            "held_out": {"int8": mean_loss(int8), "f32": mean_loss(f32)},
            "losses": {"int8": ours, "f32": exact}}


# -- tables

def spread(values):
    """Mean and half the range: with three seeds a deviation would say no more."""
    return {"mean": statistics.mean(values), "half_range": (max(values) - min(values)) / 2}


def line_at(lines, arm, seed, step):
    return next(r for r in lines if (r["arm"], r["seed"], r["step"]) == (arm, seed, step))


def clients_of(lines, arm, seeds, step):
    """client -> spread of the held-out loss over seeds."""
    runs = [line_at(lines, arm, seed, step)["clients"] for seed in seeds]
    return {c: spread([r[c]["loss"] for r in runs]) for c in runs[0]}


def row_of(lines, arm, seeds, step):
    runs = [line_at(lines, arm, seed, step) for seed in seeds]
    clients = clients_of(lines, arm, seeds, step)
    worst = max(clients, key=lambda c: clients[c]["mean"])
    return {"arm": arm, "step": step, "loss": spread([mean_loss(r) for r in runs]),
            "worst": {"client": worst, "loss": spread([max(c["loss"] for c in r["clients"].values())
                                                       for r in runs])},
            "seconds": statistics.median(r["seconds"] for r in runs),
            "tokens_of_all": statistics.mean(r["tokens_of_all"] for r in runs),
            "clients": clients}


def better(lines, arm, other, seeds, step, other_step):
    """Pairs of client and seed in which arm's loss is the lower one, and the mean difference."""
    gaps = []
    for seed in seeds:
        ours = line_at(lines, arm, seed, step)["clients"]
        theirs = line_at(lines, other, seed, other_step)["clients"]
        gaps += [theirs[c]["loss"] - ours[c]["loss"] for c in ours]
    return {"won": sum(g > 0 for g in gaps), "of": len(gaps), "mean_gain": statistics.mean(gaps),
            "worst_gain": min(gaps)}


def best_step(lines, arm, seeds):
    """The glance with the lowest mean loss: what stopping in time, told by an oracle, gives."""
    steps = sorted({r["step"] for r in lines if r["arm"] == arm})
    return min(steps, key=lambda s: row_of(lines, arm, seeds, s)["loss"]["mean"])


def step_in_time(lines, arm, seeds, seconds):
    """The first glance of `arm` that took as long: never to its disadvantage."""
    rows = sorted({r["step"] for r in lines if r["arm"] == arm})
    medians = {s: statistics.median(line_at(lines, arm, seed, s)["seconds"] for seed in seeds)
               for s in rows}
    return next((s for s in rows if medians[s] >= seconds), rows[-1])


def compared(lines, seeds):
    base = [r for r in lines if r["arm"] == "base"]
    first = base[0]["clients"]
    worst = max(first, key=lambda c: first[c]["loss"])
    out = {"base": {"arm": "base", "step": 0, "loss": spread([mean_loss(base[0])]),
                    "worst": {"client": worst, "loss": spread([first[worst]["loss"]])},
                    "seconds": 0, "tokens_of_all": 0,
                    "clients": {c: spread([first[c]["loss"]]) for c in first}}}
    out["steps"] = [row_of(lines, arm, seeds, STEPS) for arm in ARMS]
    best = best_step(lines, "alone", seeds)
    out["steps"].append({**row_of(lines, "alone", seeds, best), "arm": "alone at its best"})
    out["against_alone"], out["time"] = {}, []
    for arm in FEDERATED:
        seconds = next(r["seconds"] for r in out["steps"] if r["arm"] == arm)
        step = step_in_time(lines, "alone", seeds, seconds)
        out["against_alone"][arm] = {
            "same_steps": better(lines, arm, "alone", seeds, STEPS, STEPS),
            "same_time": better(lines, arm, "alone", seeds, STEPS, step),
            "its_best": better(lines, arm, "alone", seeds, STEPS, best)}
        for other in ("alone", "pooled_one"):
            row = row_of(lines, other, seeds, step_in_time(lines, other, seeds, seconds))
            if row not in out["time"]:
                out["time"].append(row)
    return out


def number(s):
    return f"{s['mean']:.3f}" + (f" ± {s['half_range']:.3f}" if s["half_range"] else "")


def rows_table(rows):
    out = ["| arm | steps of a client | mean loss | worst client | s waited | tokens of all |",
           "|---|---|---|---|---|---|"]
    for r in rows:
        out.append(f"| {r['arm']} | {r['step'] or ''} | {number(r['loss'])} | "
                   f"{number(r['worst']['loss'])} ({r['worst']['client']}) | "
                   f"{r['seconds']:.1f} | {r['tokens_of_all'] / 1000:.1f} k |")
    return out


def clients_table(rows):
    names = list(rows[0]["clients"])
    out = ["| arm | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for r in rows:
        out.append(f"| {r['arm']} | " + " | ".join(number(r["clients"][c]) for c in names) + " |")
    return out


def pairs_table(against):
    out = ["| mode | compared | client-seed pairs with a lower loss than alone | mean gain "
           "| worst gain |", "|---|---|---|---|---|"]
    for arm, how in against.items():
        for name, b in how.items():
            out.append(f"| {arm} | {name.replace('_', ' ')} | {b['won']} of {b['of']} | "
                       f"{b['mean_gain']:+.3f} | {b['worst_gain']:+.3f} |")
    return out


def text_of(result):
    c = result["compared"]
    rows = [c["base"], *c["steps"]]
    how = result["settings"]
    merges = [r for r in result["lines"] if "merge_seconds" in r and r["step"] == STEPS]
    merge = statistics.median(r["merge_seconds"] for r in merges) / (STEPS / int(how["round"]))
    sent = {r["arm"]: r["update_bytes_per_client"] / 2**20 for r in merges}
    held = sum(x["rows"] for x in result["lines"][0]["clients"].values())
    train = ", ".join(f"{n} {x['train_rows']}" for n, x in result["lines"][0]["clients"].items())
    return "\n".join([
        f"# Natural clients: {result['file']}\n",
        f"{result['model']}, int8 base, LoRA r = {how['rank']} on all seven linear maps, "
        f"AdamW; {result['cpu']}, {result['date']}, commit {result['commit']}.\n"
        f"`{result['command']}`\n",
        f"Held-out loss: nats a token over completions only, {held} rows never trained on; mean "
        f"over clients, each counted alike; ± half the range over seeds "
        f"{', '.join(map(str, result['seeds']))} (the seed draws the adapter's start and the order "
        "of the rows; the division of rows is one). A seed's worst client is the one with the "
        f"highest loss; the name is that of the means. Training rows: {train}.\n",
        f"**Same steps**: each client takes {STEPS} optimizer steps of at most {how['tokens']} "
        f"tokens. *alone*: on its own rows; *fedavg, rolora*: the same batches, merged by the "
        f"product's aggregation after each {how['round']} steps, weighed by tokens; *pooled*: one "
        "trainer on all rows, whose every step takes the clients' batches of that step together: "
        "as many steps and samples in all; *pooled_one*: one trainer on all rows shuffled, steps "
        "as small as one client's. *alone at its best*: at the one glance of "
        f"{GLANCES['alone'].replace(',', ', ')} steps where these very rows are scored best: "
        "more than stopping early could know.\n",
        *rows_table(rows), "", *clients_table(rows), "",
        "**Same time**: seconds of processor time of one thread, which are wall time where each "
        "client has a core of its own: a client's own steps; in rounds the slowest client's, and "
        f"the merge on one core ({merge:.2f} s a round). Not in it: sending (a client's updates: "
        + ", ".join(f"{a} {b:.0f} MiB in all" for a, b in sent.items())
        + "). Alone and pooled_one go on until they took as long as a mode (the next glance, so "
        "a little longer); pooled takes one core as long as all clients together.\n",
        *rows_table(c["time"]), "", *pairs_table(c["against_alone"]), "",
        *([precision_text(result["int8_beside_f32"])] if "int8_beside_f32" in result else []),
        "Learning rates: of those tried with seed " + CALIBRATION["seed"]
        + f", {CALIBRATION['clients']} clients and {CALIBRATION['glances']} steps, by rows that "
        "nothing here is trained on or scored by: "
        + "; ".join(f"{arm}: " + ", ".join(f"{r} {loss:.3f}" for r, loss in of.items())
                    for arm, of in result["calibration"].items())
        + ". Taken: " + ", ".join(f"{a} {r}" for a, r in result["rates"].items())
        + " (pooled_one as alone).", ""])


def precision_text(p):
    return (f"**int8 beside f32**: {p['arm']}, seed {p['seed']}, {p['steps']} steps of the same "
            f"batches on both bases: mean training loss {100 * p['loss_gap']:.2f} % apart, the "
            f"furthest single step {100 * p['largest_step_gap']:.2f} %; held-out loss "
            f"{p['held_out']['int8']:.3f} and {p['held_out']['f32']:.3f}.\n")


def main():
    args = arguments()
    settings = {**SETTINGS, **dict(word.split("=", 1) for word in args.settings)}
    file = args.data / args.file
    if not file.is_file():
        sys.exit(f"there is no {file}: --data names the folder of the JSONL files")
    with file.open() as lines:
        parts = divided(lines, args.clients)
    runner, clients = Runner(args, settings), list(parts["train"])
    rates, losses = calibrated(runner, parts, clients)
    print("rates:", rates, losses, file=sys.stderr)
    if args.calibrate:
        return
    seeds = [int(s) for s in args.seeds.split(",")]
    rows = runner.rows(parts, "report", clients)
    lines = study(runner, rows, rates, seeds)
    command = ("./dev bench natural_clients --data DIR" + f" --file {args.file}"
               + "".join(f" {w}" for w in args.settings))
    result = {"file": args.file, "model": args.model.stem, "command": command,
              "date": datetime.date.today().isoformat(),
              "cpu": cpu_name(), "commit": commit(), "seeds": seeds, "settings": settings,
              "steps": STEPS, "calibration": losses, "rates": rates,
              "compared": compared(lines, seeds),
              "lines": lines}
    if not args.no_reference:
        result["int8_beside_f32"] = int8_beside_f32(runner, rows, rates, seeds[0])
    keep(ROOT / args.out, result, text_of(result))


if __name__ == "__main__":
    main()
