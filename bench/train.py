"""LoRA training: ours on the int8 base beside Hugging Face with PEFT, same model, same cores, same
adapter at the start, same batches, same AdamW. Each runs in a process of its own, one after the
other in every round; medians of all steps but each run's first count.

r = 8 on all seven linear maps, samples of 256 tokens, four a step, loss over all of a sample but
its first token. The text is this tree's own documents. Hugging Face runs in f32 and in bf16, each
with the faster of its two attentions in a short trial, the adapter in f32 as PEFT makes it; the
faster one is the peer. Beside them: bf16 throughout, adapter and AdamW's moments too, which PEFT
advises against. Ours runs in f32 too if --reference is given: a check of the curve.

Peak memory is the process's largest resident size, libraries and base included: of ours from start
to end; of the peer's over its steps alone, for it loads (from safetensors of its own type) with
more than it trains with.

usage: ./dev bench train [--steps 12] [--rounds 3] [--reference] [--out bench/results/train]
       (needs the oracle's Python: --python)
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from peer.report import commit, cpu_name, keep  # noqa: E402

CACHE = Path(os.environ.get("COLLM_CACHE", Path.home() / ".cache/collm"))
MODEL = CACHE / "models/smollm2-135m-instruct.gguf"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LENGTH, SAMPLES, RATE = 256, 4, 5e-4
ATTENTIONS = ("sdpa", "eager")
# name -> type of the base, whether the adapter is in f32: PEFT's default, for stable training.
PEERS = {"peft float32": ("float32", True), "peft bfloat16": ("bfloat16", True),
         "peft bfloat16 throughout": ("bfloat16", False)}
TRIAL_STEPS = 4


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--steps", type=int, default=12)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--reference", action="store_true", help="ours in f32 too")
    p.add_argument("--python", default=str(CACHE / "oracle/bin/python"),
                   help="a Python with torch, transformers and peft")
    p.add_argument("--build", default=os.environ.get("COLLM_BUILD", "build"))
    p.add_argument("--out", default="bench/results/train", help="writes OUT.json and OUT.md")
    p.add_argument("--built", action="store_true", help="curve_bench is there: do not build it")
    p.add_argument("--prepare", help=argparse.SUPPRESS)
    p.add_argument("--attention", choices=ATTENTIONS, default="sdpa", help=argparse.SUPPRESS)
    p.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    return p.parse_args()


ARGS = arguments()


def text():
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n\n".join(f.read_text() for f in files)


# -- within the oracle's Python

def load(dtype, **place):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(ARGS.threads)
    return AutoModelForCausalLM.from_pretrained(dtype=getattr(torch, dtype), **place,
                                                attn_implementation=ARGS.attention)


def prepare(folder):
    """The base in both types, the adapter that all start from, and the batches as token ids."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(MODEL.parent, gguf_file=MODEL.name)
    ids = tokenizer(text(), add_special_tokens=False)["input_ids"]
    pieces = [ids[at:at + LENGTH] for at in range(0, len(ids) - LENGTH, LENGTH)]
    batches = [[pieces[(s * SAMPLES + i) % len(pieces)] for i in range(SAMPLES)]
               for s in range(ARGS.steps)]
    (Path(folder) / "batches.json").write_text(json.dumps(batches))
    read = load("float32", pretrained_model_name_or_path=MODEL.parent, gguf_file=MODEL.name)
    config = read.config
    del config.quantization_config  # plain tensors by now, yet refused by save_pretrained
    for dtype in ("float32", "bfloat16"):
        base = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        base.load_state_dict(read.state_dict())
        base.save_pretrained(Path(folder) / dtype)
    torch.manual_seed(1)
    base = load("float32", pretrained_model_name_or_path=Path(folder) / "float32")
    config = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
    get_peft_model(base, config).save_pretrained(Path(folder) / "lora")


def peak_kib():
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM:")))


def peer(folder):
    """Steps as JSON lines, then the peak."""
    import time

    import peft
    import torch
    import transformers
    dtype, adapter_in_f32 = PEERS[ARGS.peer]
    base = load(dtype, pretrained_model_name_or_path=Path(folder) / dtype)
    model = peft.PeftModel.from_pretrained(base, Path(folder) / "lora", is_trainable=True,
                                           autocast_adapter_dtype=adapter_in_f32)
    model.train()
    model.config.use_cache = False
    loading_kib = peak_kib()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    for batch in json.loads((Path(folder) / "batches.json").read_text())[:ARGS.steps]:
        start = time.monotonic()
        ids = torch.tensor(batch)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        adam.step()
        adam.zero_grad()
        print(json.dumps({"loss": loss.item(), "tokens": ids.numel(),
                          "seconds": time.monotonic() - start}), flush=True)
    versions = {m.__name__: m.__version__ for m in (torch, transformers, peft)}
    print(json.dumps({"peak_kib": peak_kib(), "loading_peak_kib": loading_kib,
                      "threads": torch.get_num_threads(),
                      "adapter_type": str(trained[0].dtype), "versions": versions}))


# -- outside of it

def lines(command, feed=None):
    env = {**os.environ, "OMP_NUM_THREADS": str(ARGS.threads)}
    done = subprocess.run(command, input=feed, text=True, stdout=subprocess.PIPE, env=env,
                          cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed for the reason above")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def run_peer(name, attention, steps, folder):
    return lines([ARGS.python, __file__, "--prepare", folder, "--peer", name, "--attention",
                  attention, "--steps", str(steps), "--threads", str(ARGS.threads)])


def rate(step):
    return step["tokens"] / step["seconds"]


def faster_attentions(folder):
    """Peer -> attention, and what the trial says."""
    trial = {name: {a: statistics.median(map(rate, run_peer(name, a, TRIAL_STEPS, folder)[1:-1]))
                    for a in ATTENTIONS} for name in PEERS}
    return {name: max(of, key=of.get) for name, of in trial.items()}, trial


def run_ours(precision, folder):
    batches = json.loads((Path(folder) / "batches.json").read_text())
    feed = "\n".join("".join(f"1 {' '.join(map(str, s))}\n" for s in batch) for batch in batches)
    return lines([ARGS.build + "/bin/curve_bench", str(MODEL), str(CACHE / "bases"),
                  f"{folder}/lora", precision, str(ARGS.threads), str(RATE)], feed)


def summary(runs):
    """Of one engine's runs: each is its steps and its last line."""
    return {"tokens_per_s": statistics.median(rate(s) for run in runs for s in run[1:-1]),
            "tokens_per_s_of_runs": [statistics.median(map(rate, run[1:-1])) for run in runs],
            "steps": [run[:-1] for run in runs],
            "peak_mib": max(run[-1]["peak_kib"] for run in runs) / 1024,
            "losses": [s["loss"] for s in runs[0][:-1]], "about": runs[0][-1]}


def compare(engines):
    peers = {name: engines[name] for name, (_, adapter_in_f32) in PEERS.items() if adapter_in_f32}
    best = max(peers, key=lambda k: peers[k]["tokens_per_s"])
    ours, exact = engines["ours int8"], engines["peft float32"]

    def over(name):
        return {key: ours[of] / engines[name][of] for key, of in
                (("tokens_per_s", "tokens_per_s"), ("peak_memory", "peak_mib"))}
    return {"peer": best, "ratio": over(best), "ratio_to": {name: over(name) for name in PEERS},
            "loss_gap": abs(sum(ours["losses"]) / sum(exact["losses"]) - 1),
            "largest_step_gap": max(abs(a / b - 1) for a, b in
                                    zip(ours["losses"], exact["losses"], strict=True))}


def table(result):
    exact = result["engines"]["peft float32"]["losses"]
    rows = ["| engine | tokens/s | of the rounds | ours over it | peak MiB | mean loss "
            "| off f32's |", "|---|---|---|---|---|---|---|"]
    for name, e in result["engines"].items():
        rounds = ", ".join(f"{r:.0f}" for r in e["tokens_per_s_of_runs"])
        over = result["ratio_to"].get(name)
        rows.append(f"| {name} | {e['tokens_per_s']:.0f} | {rounds} | "
                    + (f"{over['tokens_per_s']:.2f}" if over else "")
                    + f" | {e['peak_mib']:.0f} | {statistics.mean(e['losses']):.4f} | "
                    f"{100 * (sum(e['losses']) / sum(exact) - 1):+.2f} % |")
    ratio = result["ratio"]
    trial = "; ".join(f"{name} " + ", ".join(f"{a} {r:.0f}" for a, r in of.items())
                      for name, of in result["trial_tokens_per_s"].items())
    versions = result["engines"]["peft float32"]["about"]["versions"]
    return "\n".join([
        f"LoRA training, SmolLM2-135M, r = 8 on all linear layers, {SAMPLES} samples of {LENGTH} "
        f"tokens a step, {result['steps']} steps a round, {result['threads']} threads, "
        f"{result['cpu']}, {result['date']}, commit {result['commit']}, `./dev bench train`. Peer: "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + f"; the faster attention each (trial, tokens/s: {trial}); the adapter in f32, as PEFT "
        "makes it, but in the last row of its.\n",
        *rows, "", f"Ours over {result['peer']}: {ratio['tokens_per_s']:.2f} times the tokens a "
        f"second, {ratio['peak_memory']:.2f} times the peak memory; mean loss "
        f"{100 * result['loss_gap']:.2f} % off f32's, a single step at most "
        f"{100 * result['largest_step_gap']:.2f} %. Peak: largest resident size, base and "
        "libraries included, ours from start to end, the peer's over its steps alone.", ""])


def check_python():
    """Says what is missing, and how to get it."""
    make = (f"python3 -m venv {CACHE}/oracle && {CACHE}/oracle/bin/pip install -r "
            "tests/golden/requirements.txt  (several GB; './dev golden' makes the same)")
    if not Path(ARGS.python).exists():
        sys.exit(f"there is no Python with the peer at {ARGS.python}; make it:\n  {make}")
    found = subprocess.run([ARGS.python, "-c", "import gguf, peft, torch, transformers"],
                           text=True, stderr=subprocess.PIPE, check=False)
    if found.returncode:
        sys.exit(f"{ARGS.python} lacks a package of the peer: {found.stderr.splitlines()[-1]}; "
                 f"make it anew:\n  {make}")


def main():
    check_python()
    if not ARGS.built:
        subprocess.run(["cmake", "--build", ARGS.build, "--target", "curve_bench"], cwd=ROOT,
                       check=True, stdout=subprocess.DEVNULL)
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        lines([ARGS.python, __file__, "--prepare", folder, "--steps", str(ARGS.steps)])
        attentions, trial = faster_attentions(folder)
        print("trial:", trial, file=sys.stderr, flush=True)
        for number in range(ARGS.rounds):
            print(f"round {number + 1} of {ARGS.rounds}", file=sys.stderr, flush=True)
            runs.setdefault("ours int8", []).append(run_ours("int8", folder))
            for name, attention in attentions.items():
                runs.setdefault(name, []).append(run_peer(name, attention, ARGS.steps, folder))
        if ARGS.reference:
            runs["ours f32"] = [run_ours("f32", folder)]
    engines = {name: summary(r) for name, r in runs.items()}
    result = {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "threads": ARGS.threads,
              "commit": commit(), "steps": ARGS.steps, "rounds": ARGS.rounds,
              "attentions": attentions,
              "trial_tokens_per_s": trial, **compare(engines), "engines": engines}
    keep(ROOT / ARGS.out, result, table(result))


if __name__ == "__main__":
    if ARGS.peer:
        peer(ARGS.prepare)
    elif ARGS.prepare:
        prepare(ARGS.prepare)
    else:
        main()
