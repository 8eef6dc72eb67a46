"""Every fuzz target for a while of the processor's time, at the lowest priority, and a table of
what came of it.

Each target is built with its parsers under ASan and UBSan; from its corpus it runs one seed after
the other until its time is over. A row says how many inputs that were. A finding, and a target
that does not end, fails the run; its log has the input and the seed. With `--only`, the other rows
of the table stay.

usage: ./dev fuzz [--seconds 600] [--jobs 2] [--only manifest_fuzz …] [--out bench/results/fuzz]
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from peer.report import commit, cpu_name, keep  # noqa: E402

WALL_OVER_PROCESSOR = 5  # slower than so, a target is ended
LAST_ROUND_S = 300  # the driver looks at the clock between two seeds only


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--seconds", type=int, default=600, help="of the processor, for each target")
    p.add_argument("--jobs", type=int, default=2, help="targets at a time")
    p.add_argument("--only", nargs="*", help="these targets")
    p.add_argument("--programs", type=Path, default=ROOT / "build/bin")
    p.add_argument("--out", type=Path, default=ROOT / "bench/results/fuzz",
                   help=".json and .md are added")
    return p.parse_args()


def targets():
    return sorted(f.stem for f in (ROOT / "tests/fuzz").glob("*_fuzz.cpp"))


def run(program, seconds, log):
    """What a row says of it."""
    begun = time.monotonic()
    with open(log, "w", encoding="utf-8", errors="replace") as to:
        process = subprocess.Popen(["nice", "-n", "19", program], stdout=to,
                                   stderr=subprocess.STDOUT, cwd=ROOT,
                                   env=os.environ | {"COLLM_FUZZ_SECONDS": str(seconds)})
        watchdog = threading.Timer(WALL_OVER_PROCESSOR * seconds + LAST_ROUND_S, process.kill)
        watchdog.start()
        _, status, used = os.wait4(process.pid, 0)
        watchdog.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    ended = re.search(r"(\d+) executions without a finding\s*\Z", text)
    seeds = re.findall(r"COLLM_FUZZ_SEED=(\d+)", text)
    good = process.returncode == 0 and ended
    processor = round(used.ru_utime + used.ru_stime)
    found = f"seed {seeds[-1] if seeds else 'none'}, exit code {process.returncode}"
    if process.returncode == -signal.SIGKILL and processor < seconds:
        found = "ended by its watchdog: the machine had too little time for it"
    return {"seconds": round(time.monotonic() - begun),
            "processor_s": processor,
            "inputs": int(ended[1]) if good else None,
            "finding": None if good else found}


def row(name, a, built):
    found = run(a.programs / name, a.seconds, a.programs / f"{name}.log")
    print(f"{name}: {found['finding'] or 'nothing'} in {found['seconds']} s", flush=True)
    return {"target": name, **found, "commit": built, "date": datetime.date.today().isoformat()}


def table(rows):
    lines = ["# What fuzzing found", "",
             "`./dev fuzz` (the last part of `./dev nightly`), on " + cpu_name() + ": each "
             "target in a process of the lowest priority, ASan and UBSan in it and its parsers, "
             "from its corpus, or what its driver makes, on, one seed after the other.", "",
             "| target | seconds | of them on a processor | inputs | findings | commit |",
             "|---|---|---|---|---|---|"]
    for r in rows:
        inputs = "-" if r["inputs"] is None else f"{r['inputs']:,}"
        lines.append(f"| {r['target']} | {r['seconds']} | {r['processor_s']} | {inputs} | "
                     f"{r['finding'] or 'none'} | {r['commit']} |")
    return "\n".join(lines) + "\n"


def main():
    a = arguments()
    chosen = a.only or targets()
    unknown = [name for name in chosen if not (a.programs / name).exists()]
    if unknown:
        sys.exit(f"there is no {', '.join(unknown)} in {a.programs}; ./dev fuzz builds them")
    kept = a.out.with_name(a.out.name + ".json")
    rows = {r["target"]: r for r in json.loads(kept.read_text())} if kept.exists() else {}
    built = commit()
    rows, found = {name: r for name, r in rows.items() if name in targets()}, False
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        for done in concurrent.futures.as_completed(
                [pool.submit(row, name, a, built) for name in chosen]):
            fresh = done.result()
            found = found or bool(fresh["finding"])
            rows[fresh["target"]] = fresh
            told = [rows[name] for name in sorted(rows)]
            keep(a.out, told, table(told))  # each at once: a run may be stopped
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
