"""Training beside requests in one engine (`collm bench co-run`), kept as JSON and as a table.

usage: ./dev bench co_run [--pairs 4] [--minutes 12] [--out bench/results/co_run]
"""
import argparse
import datetime
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from peer.process import measured  # noqa: E402
from peer.report import commit, cpu_name, keep  # noqa: E402


def arguments():
    build = ROOT / os.environ.get("COLLM_BUILD", "build")
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--program", default=str(build / "bin/collm"))
    p.add_argument("--pairs", type=int, default=4)
    p.add_argument("--minutes", type=float, default=12, help="of the whole")
    p.add_argument("--out", type=Path, default=ROOT / "bench/results/co_run",
                   help=".json and .md are added")
    return p.parse_args()


def side(name, s):
    return (f"| {name} | {s['requests']} | {s['refused']} | {s['attainment']:.1%} | "
            f"{s['ttft_ms_p50']:.1f} | {s['tpot_ms_p50']:.2f} | {s['tpot_ms_p95']:.2f} |")


def markdown(r):
    load, speed = r["load"], r["training_tokens_per_s"]
    trials = ", ".join(f"{t['per_s']:.2f}/s {t['attainment']:.0%} of {t['requests']}"
                       for t in load["capacity_trials"])
    return "\n".join([
        "# Training beside requests", "",
        f"`./dev bench co_run --pairs {load['parts'] // 2} --minutes {load['minutes']:g}`, "
        f"{r['date']}, commit {r['commit']}. {r['cpu']}, {r['cores']} "
        f"cores; {r['model']}, int8, {r['kernel_path']}, {r['threads']} engine threads. Other "
        f"processes took {r['other_cores_busy']:.2f} cores meanwhile.", "",
        f"A token every {r['unloaded_tpot_ms']:.2f} ms of a request alone, where they are rare; "
        f"promised every {r['slo']['tpot_ms']:.2f} ms, the first one within "
        f"{r['slo']['ttft_ms']:.0f} ms. "
        f"Capacity under this promise with training off {load['capacity_per_s']:.2f} requests/s: "
        f"kept in its trials were {trials} "
        f"(prompts of {load['prompt_tokens']} tokens, answers of {load['answer_tokens']}, half to "
        f"one and a half of it, Poisson); half of it is the load. {load['parts']} parts of "
        f"{load['part_seconds']:.0f} s, off, on, on, off, ...; each pair has the same arrivals.",
        "",
        "| training | requests | refused | attainment | TTFT ms | TPOT ms | TPOT ms, p95 |",
        "|---|---|---|---|---|---|---|",
        side("off", r["training_off"]), side("on", r["training_on"]), "",
        f"Lost by training: {r['attainment_points_lost']:.1f} points of attainment (target: at "
        f"most 2; standard error of the difference {r['attainment_points_error']:.1f}).", "",
        "| training tokens/s | |", "|---|---|",
        f"| with nothing to serve | {speed['alone']:.0f} |",
        f"| that the idle time ({r['idle_share']:.0%}) would allow | "
        f"{speed['idle_time_allows']:.0f} |",
        f"| beside the requests | {speed['beside_requests']:.0f} |", "",
        f"Ratio {r['ratio']:.2f} (target: at least 0.6). Units took {r['unit_share']:.0%} of the "
        f"time; the longest of these (at most {r['units']['window_tokens']} rows, of the loss head "
        f"{r['units']['head_tokens']}, as a node finds them) was predicted to take at most "
        f"{r['longest_unit_bound_ms']:.1f} ms; of {r['units']['run']} since the start "
        f"{r['units']['above_max']} were predicted to take longer than maxUnit. "
        f"Turns that ended before the job: {r['stopped']['time']} for time, "
        f"{r['stopped']['credit']} for credit, {r['stopped']['request']} for a request.", ""])


def main():
    a = arguments()
    if not Path(a.program).exists():
        sys.exit(f"co_run: there is no {a.program}; ./dev bench co_run makes it")
    others = []
    text, _, _ = measured([a.program, "bench", "co-run", "--pairs", a.pairs, "--minutes",
                           a.minutes, "--output", "json"], 3600, others)
    found = {"date": datetime.date.today().isoformat(), "commit": commit(), "cpu": cpu_name(),
             "cores": os.cpu_count(), "other_cores_busy": others[0], **json.loads(text)}
    keep(a.out, found, markdown(found))


if __name__ == "__main__":
    main()
