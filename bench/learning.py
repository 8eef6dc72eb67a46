"""Does federated learning pay on the built-in demo? Runs learning_bench (its head says what counts
as right) once for each seed and writes lines and a table.

usage: ./dev bench learning [--seeds 1,2] [--out bench/results/demo_learning] [key=value …]
       bench/learning.py --lines A.jsonl [B.jsonl …]    (the table of runs that are there already)
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from peer.report import keep  # noqa: E402

CACHE = Path(os.environ.get("COLLM_CACHE", Path.home() / ".cache/collm"))
SITES = ("kitchen", "workshop")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--seeds", default="1,2")
    p.add_argument("--lines", nargs="+", metavar="JSONL")
    p.add_argument("--model", default=CACHE / "models/smollm2-135m-instruct.gguf", type=Path)
    p.add_argument("--build", default=os.environ.get("COLLM_BUILD", "build"))
    p.add_argument("--out", default="bench/results/demo_learning", help="writes OUT.json, OUT.md")
    p.add_argument("settings", nargs="*", help="key=value, of learning_bench")
    return p.parse_args()


def run(args, seed):
    command = [f"{args.build}/bin/learning_bench", str(args.model), str(CACHE / "bases"),
               *args.settings, f"seed={seed}"]
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            lines.append(json.loads(line))
    if process.returncode:
        sys.exit("learning_bench failed for the reason above")
    return lines


def runs_of(lines):
    """Each begins with its settings."""
    runs = []
    for line in lines:
        if "settings" in line:
            runs.append({"settings": line["settings"], "rows": []})
        else:
            runs[-1]["rows"].append(line)
    return runs


def right(row, site):
    r = row[site]
    return f"{100 * r['right']:.0f} % ({100 * r['own_staff']:.0f}, {100 * r['visitors']:.0f})"


def name(run, row):
    how = run["settings"]
    if row["arm"] not in ("together", "alone"):
        return row["arm"]
    rounds = f", {how['aggregate']}, rounds of {how['round']}" if row["arm"] == "together" else ""
    rate = how["rate"] + ("" if how["plus"] == "1" else f", B x {how['plus']}")
    return f"{row['arm']}{rounds}; {how['tokens']} tokens a step, rate {rate}, seed {how['seed']}"


def table(runs):
    rows = ["| arm | step | tokens a site | kitchen: right (own staff, visitors) | workshop "
            "| examples a site |", "|---|---|---|---|---|---|"]
    for run, row in ((run, row) for run in runs for row in run["rows"]):
        rows.append(f"| {name(run, row)} | {row['step']} | {row.get('tokens_per_site', '')} | "
                    + " | ".join(right(row, s) for s in SITES)
                    + f" | {row.get('examples_per_site', '')} |")
    return "\n".join(rows) + "\n"


def main():
    args = arguments()
    if args.lines:
        runs = runs_of(json.loads(line) for f in args.lines
                       for line in Path(f).read_text().splitlines())
    else:
        runs = runs_of(line for seed in args.seeds.split(",") for line in run(args, seed))
    keep(
        ROOT / args.out, runs,
        "# Learning on the built-in demo\n\nSmolLM2-135M-Instruct, int8 base, LoRA on all seven "
        "linear maps, `./dev bench learning`: held-out questions of the report\nsplit, half of "
        "them said by visitors (the other site's staff); right: every token as the reference "
        "has it.\n\n" + table(runs))


if __name__ == "__main__":
    main()
