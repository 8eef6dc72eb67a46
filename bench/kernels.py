"""Every kernel's time, on each instruction path, one thread and two, as a share of what this
machine can do at most, beside its naive twin.

The peaks (int8 products, float multiply-adds, both from registers only, and a streaming read of
memory) are measured in the same run, before and after; the better one counts. A kernel's bound is
the larger of operations over their peak and bytes over bandwidth; its share is that bound over the
time that it took. int8 operations are those of the integer product, high parts included. The peak
is the machine's best one, also for the slower paths.

usage: ./dev bench kernels [--seconds 0.02] [--out bench/results/kernels]
"""
import argparse
import datetime
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from peer.process import measured  # noqa: E402
from peer.report import commit, cpu_name, keep  # noqa: E402

PEAKS = {"int8": ["int8_vnni_512_gops", "int16_madd_256_gops"],
         "f32": ["f32_fma_512_gops", "f32_fma_256_gops"]}
MEMORY = "memory_read_gbytes"


def arguments():
    build = ROOT / os.environ.get("COLLM_BUILD", "build")
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--program", default=str(build / "bin/kernels_bench"))
    p.add_argument("--seconds", type=float, default=0.02, help="of a round; five count")
    p.add_argument("--out", type=Path, default=ROOT / "bench/results/kernels",
                   help=".json and .md are added")
    return p.parse_args()


def best_peaks(found):
    """{peak: [one thread, two]}: the better of before and after."""
    before, after = found["peaks_before"], found["peaks_after"]
    return {k: [max(pair) for pair in zip(before[k], after[k])] for k in before}


def bound_seconds(row, peaks, threads):
    """The least time of one call that the machine allows, and by what."""
    i = threads - 1
    bounds = {"memory": row["bytes"] / (peaks[MEMORY][i] / threads * 1e9)}
    for name in PEAKS.get(row["counted"], []):
        if name in peaks:
            bounds[row["counted"]] = row["operations"] / (peaks[name][i] / threads * 1e9)
            break
    bound = max(bounds, key=bounds.get)
    return bounds[bound], bound


def judge(found):
    """Adds to each time: share of the bound, the bound's name, times faster than the twin."""
    peaks = best_peaks(found)
    for row in found["rows"]:
        for times in row["seconds"].values():
            for t in times:
                seconds, bound = bound_seconds(row, peaks, t["threads"])
                t["share"], t["bound"] = round(seconds / t["median"], 4), bound
                t["spread"] = round((t["most"] - t["least"]) / t["median"], 3)
                if "naive_seconds" in row:
                    t["over_naive"] = round(row["naive_seconds"] / t["median"], 2)
    return found


def microseconds(seconds):
    return f"{seconds * 1e6:.2f}" if seconds < 1e-5 else f"{seconds * 1e6:.0f}"


def line(row):
    fast = next(iter(row["seconds"].values()))
    cells = [row["kernel"], row["shape"], microseconds(fast[0]["median"]),
             f"{fast[0]['spread']:.0%}", fast[0]["bound"], f"{fast[0]['share']:.0%}",
             f"{fast[-1]['share']:.0%}"]
    for path in ("avx2", "portable"):
        times = row["seconds"].get(path)
        cells.append(microseconds(times[0]["median"]) if times else "")
    cells += [microseconds(row["naive_seconds"]), f"{fast[0]['over_naive']:.0f}"] \
        if "naive_seconds" in row else ["", ""]
    return "| " + " | ".join(cells) + " |"


def markdown(found):
    peaks = best_peaks(found)
    paths = next(iter(found["rows"]))["seconds"]
    out = ["# Kernels", "",
           f"`./dev bench kernels`, {found['date']}, commit {found['commit']}. {found['cpu']}, "
           f"{found['cores']} cores. Peaks measured in this run, one thread and two together:", "",
           "| peak | one thread | two |", "|---|---|---|"]
    for name, values in peaks.items():
        what, unit = re.fullmatch(r"(.*)_(gops|gbytes)", name).groups()
        unit = {"gops": "Gop/s", "gbytes": "GB/s"}[unit]
        out.append(f"| {what.replace('_', ' ')} | " +
                   " | ".join(f"{v:.0f} {unit}" for v in values) + " |")
    out += ["", f"Microseconds a call of the {next(iter(paths))} path on one thread (median of "
            "five rounds, and what lies between the least and the most); what bounds the kernel, "
            "its share of that peak on one thread, and with the same on a second thread beside "
            "it; the other paths; the naive twin, and how many times faster. A multiply-add "
            "counts as two operations. Weights, keys and factors come from memory, rows from the "
            "first cache. Other cores busy meanwhile: "
            f"{found['other_cores_busy']:.2f}.", "",
            "| kernel | shape | µs | spread | bound | share | share, two threads | avx2 µs | "
            "portable µs | naive µs | times faster |", "|---|---|" + "---|" * 9]
    return "\n".join(out + [line(row) for row in found["rows"]]) + "\n"


def main():
    a = arguments()
    if not Path(a.program).exists():
        sys.exit(f"kernels: there is no {a.program}; ./dev bench kernels makes it")
    others = []
    text, _, _ = measured([a.program, a.seconds], 1800, others)
    found = judge({"date": datetime.date.today().isoformat(), "commit": commit(),
                   "cpu": cpu_name(), "cores": os.cpu_count(), "other_cores_busy": others[0],
                   "seconds": a.seconds, **json.loads(text)})
    keep(a.out, found, markdown(found))


if __name__ == "__main__":
    main()
