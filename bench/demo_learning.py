"""Does federated learning pay on the built-in demo? Proved once with transformers and PEFT.

Both sites fine-tune LoRA (r 8, alpha 16, all seven linear maps) on their own record. 'alone': each
for itself, A and B at every step: nothing holds it back. 'together': after every round the sites'
adapters are averaged (rolora: one round trains B, the next A; fedavg: both at once). Steps, tokens
a step, order of examples and optimizer are the same. Measured on held-out data of the report
split: the share of answers that are right to the last byte. Controls: the base as it is, and the
base with five examples in its prompt.

An answer counts as right if at every place of the reference, the end mark included, the most
likely token given what goes before is the reference's: exactly what greedy decoding would have
written. One forward pass tells it.

--int8 computes the frozen weights' products as CoLLM does (int8 weights per output channel, int8
activations per token, the top 1/64 channels in float), which is cheaper on a CPU with VNNI; LoRA
itself stays in float.

usage: demo_learning.py --dump build/bin/demo_dump --out bench/results/demo_learning.json
       demo_learning.py --tables A.json [B.json …]    (a table of results, also of several runs)
"""

import argparse
import json
import os
import subprocess
import time
from collections import defaultdict
from pathlib import Path

SITES = ("kitchen", "workshop")


def arguments():
    cache = os.environ.get("COLLM_CACHE", str(Path.home() / ".cache/collm"))
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--tables", nargs="+", metavar="JSON", help="print results, train nothing")
    p.add_argument("--dump", default="build/bin/demo_dump", help="the demo_dump program")
    p.add_argument("--model", default=f"{cache}/models/smollm2-135m-instruct.gguf")
    p.add_argument("--out", help="results, JSON; rewritten after every evaluation")
    p.add_argument("--modes", default="controls,together,alone")
    p.add_argument("--steps", type=int, default=200, help="optimizer steps of each site")
    p.add_argument("--batch-tokens", type=int, default=1024)
    p.add_argument("--round-steps", type=int, default=6)
    p.add_argument("--aggregate", choices=("rolora", "fedavg"), default="rolora")
    p.add_argument("--learning-rate", type=float, default=1e-3)
    p.add_argument("--warmup-steps", type=int, default=10)
    p.add_argument("--record", type=int, default=4000, help="examples in a site's record")
    p.add_argument("--held-out", type=int, default=150, help="examples of a site's report split")
    p.add_argument("--glance", type=int, default=80,
                   help="of them, how many are looked at before the last step")
    p.add_argument("--evaluate-every", type=int, default=24, help="steps")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--int8", action="store_true")
    p.add_argument("--minutes", type=float, default=60, help="stop training after that, and say so")
    args = p.parse_args()
    if not args.out and not args.tables:
        p.error("--out is missing: where the results go")
    return args


def percent(share):
    return "" if share is None else f"{100 * share:.0f} %"


def print_tables(files):
    """Markdown: the controls, then right answers of both sites by step, one line for each mode."""
    runs = [json.loads(Path(f).read_text()) for f in files]
    print("| control | site | right | own staff | visitors |\n|---|---|---|---|---|")
    for site, kinds in ((s, k) for r in runs for s, k in r["controls"].items()):
        for kind, right in kinds.items():
            print(f"| {kind} | {site} | " + " | ".join(
                percent(right.get(g)) for g in ("all", "own staff", "visitors")) + " |")
    print("\n| mode | steps | tokens | kitchen: right, own staff, visitors | workshop | examples |"
          "\n|---|---|---|---|---|---|")
    for run, mode in ((r, m) for m in ("together", "alone") for r in runs):
        name = f"together, {run['settings']['aggregate']}" if mode == "together" else mode
        for row in run.get(mode, []):
            sites = (", ".join(percent(row["right"][s].get(g)) for g in (
                "all", "own staff", "visitors")) for s in SITES)
            print(f"| {name} | {row['step']} | {row['tokens']} | {' | '.join(sites)} "
                  f"| {2 * row['examples']} |")


ARGS = arguments()
if ARGS.tables:
    print_tables(ARGS.tables)
    raise SystemExit
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(ARGS.threads)

import torch  # noqa: E402  after the thread counts
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

torch.set_num_threads(ARGS.threads)
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ROW_TOKENS = 180  # beyond what the conversations of a batch share
EVERYBODY = -2  # owns the tokens that every conversation of a row sees


class Int8Product(torch.autograd.Function):
    """y = x W^T with W frozen, in int8; channels of x that stick out stay in float."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.weight = weight
        rows, scale, sticking, floats = INPUT.quantised(x)
        y = torch._int_mm(rows, weight.int8.t()).float()
        y.mul_(weight.scale).mul_(scale)
        y.addmm_(floats, weight.columns(sticking))
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, dy):
        rows = dy.reshape(-1, dy.shape[-1]) * ctx.weight.scale
        scale = row_scale(rows)
        dx = torch._int_mm(rows.div_(scale).round_().to(torch.int8), ctx.weight.int8).float()
        return dx.mul_(scale).view(*dy.shape[:-1], -1), None


def row_scale(rows):
    return rows.abs().amax(1, keepdim=True).clamp_min_(1e-12).div_(127)


class LastInput:
    """Quantised activations, kept while the same tensor is multiplied again: q, k and v share one,
    so do gate and up."""

    def __init__(self):
        self.x = self.value = None

    def quantised(self, x):
        if self.x is not x:
            rows = x.detach().reshape(-1, x.shape[-1])
            sticking = rows.abs().amax(0).topk(max(1, rows.shape[1] // 64)).indices
            floats = rows[:, sticking]
            rest = rows.index_fill(1, sticking, 0)
            scale = row_scale(rest)
            self.x = x
            self.value = rest.div_(scale).round_().to(torch.int8), scale, sticking, floats
        return self.value


INPUT = LastInput()


class Int8Weight:
    def __init__(self, weight):
        self.scale = weight.abs().amax(1).clamp_min(1e-12) / 127
        self.int8 = (weight / self.scale[:, None]).round().to(torch.int8).contiguous()

    def columns(self, index):
        return (self.int8[:, index].float() * self.scale[:, None]).t()


class Model:
    """The base with one LoRA adapter, whose values the sites load and store by turns."""

    def __init__(self):
        folder, file = os.path.split(ARGS.model)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        base = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=torch.float32, attn_implementation="sdpa")
        base.config.use_cache = False
        torch.manual_seed(ARGS.seed)
        config = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
        self.net = get_peft_model(base, config)
        self.net.train()
        if ARGS.int8:
            self.use_int8()
        named = [(n, p) for n, p in self.net.named_parameters() if "lora_" in n]
        self.values = [p for _, p in named]
        self.is_a = [".lora_A." in n for n, _ in named]

    def use_int8(self):
        for module in self.net.modules():
            if hasattr(module, "lora_A"):
                linear = module.get_base_layer()
                weight = Int8Weight(linear.weight.data)
                linear.forward = lambda x, w=weight: Int8Product.apply(x, w)
                linear.weight.data = torch.empty(0)

    def packed_logits(self, batch):
        """Logits of every token of the answers: [tokens, vocabulary]. Conversations are packed into
        rows and do not see each other; what they all begin with (system line, template) is computed
        once a row, with the same result."""
        shared = common_prefix([prompt for prompt, _ in batch])
        width = max([len(shared) + ROW_TOKENS] + [len(p) + len(a) for p, a in batch])
        rows = packed_rows(batch, len(shared), width)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        ids[:, :len(shared)] = torch.tensor(shared)
        positions = torch.zeros_like(ids)
        positions[:, :len(shared)] = torch.arange(len(shared))
        owner = torch.full_like(ids, -1)
        owner[:, :len(shared)] = EVERYBODY
        places, answers = [], []
        for r, row in enumerate(rows):
            at = len(shared)
            for number, (prompt, answer) in enumerate(row):
                end = at + len(prompt) + len(answer) - len(shared)
                ids[r, at:end] = torch.tensor(prompt[len(shared):] + answer)
                positions[r, at:end] = torch.arange(len(shared), len(prompt) + len(answer))
                owner[r, at:end] = number
                places += range(r * width + end - len(answer) - 1, r * width + end - 1)
                answers += answer
                at = end
        seen = (owner[:, :, None] == owner[:, None, :]) | (owner[:, None, :] == EVERYBODY)
        mask = torch.zeros(seen.shape).masked_fill_(~seen.tril(), torch.finfo().min)[:, None]
        llama = self.net.base_model.model
        hidden = llama.model(input_ids=ids, position_ids=positions, attention_mask=mask)[0]
        return llama.lm_head(hidden.reshape(-1, hidden.shape[-1])[places]), torch.tensor(answers)

    def right(self, batch):
        """Which of the conversations' answers greedy decoding would give."""
        with torch.no_grad():
            logits, answers = self.packed_logits(batch)
        hit = (logits.argmax(-1) == answers).tolist()
        result = []
        for _, answer in batch:
            result.append(all(hit[:len(answer)]))
            hit = hit[len(answer):]
        return result


def common_prefix(prompts):
    """Longest common beginning, but never a whole prompt."""
    length = min(len(p) for p in prompts) - 1
    differ = (i for i in range(length) if any(p[i] != prompts[0][i] for p in prompts))
    return prompts[0][:next(differ, length)]


def packed_rows(batch, shared, width):
    """In the batch's order, so that answers come out in it too."""
    rows, room = [], 0
    for prompt, answer in batch:
        size = len(prompt) + len(answer) - shared
        if size > room:
            rows.append([])
            room = width - shared
        rows[-1].append((prompt, answer))
        room -= size
    return rows


class Site:
    """One site's record, held-out data, adapter values and Adam moments."""

    def __init__(self, name, model):
        self.name = name
        self.model = model
        self.record = load(name, "train", ARGS.record, ARGS.seed)
        self.held_out = load(name, "report", ARGS.held_out, ARGS.seed)
        self.encoded = [encode(model.tokenizer, e["messages"]) for e in self.record]
        self.reset()

    def reset(self):
        torch.manual_seed(ARGS.seed)
        self.order = torch.randperm(len(self.record)).tolist()
        self.next = self.steps = self.tokens = 0
        self.values = [v.clone() for v in FIRST_VALUES]
        self.mean = [torch.zeros_like(v) for v in self.values]
        self.square = [torch.zeros_like(v) for v in self.values]
        self.updates = [0] * len(self.values)

    def enter(self):
        for p, v in zip(self.model.values, self.values):
            p.data.copy_(v)

    def batch(self):
        chosen, size = [], 0
        while True:
            prompt, answer = self.encoded[self.order[self.next % len(self.order)]]
            if chosen and size + len(prompt) + len(answer) > ARGS.batch_tokens:
                self.tokens += size
                return chosen
            chosen.append((prompt, answer))
            size += len(prompt) + len(answer)
            self.next += 1

    def train(self, half):
        """One step; half: True trains the A, False the B, None both."""
        self.enter()
        for p, a in zip(self.model.values, self.model.is_a):
            p.requires_grad_(half is None or a == half)
            p.grad = None
        logits, answers = self.model.packed_logits(self.batch())
        loss = torch.nn.functional.cross_entropy(logits, answers)
        loss.backward()
        self.adam()
        return loss.item()

    def adam(self):
        self.steps += 1
        rate = ARGS.learning_rate * min(1.0, self.steps / ARGS.warmup_steps)
        trained = [i for i, p in enumerate(self.model.values) if p.grad is not None]
        norm = torch.stack([self.model.values[i].grad.norm() for i in trained]).norm().item()
        clip = min(1.0, 1.0 / (norm + 1e-6))
        for i in trained:
            self.updates[i] += 1
            grad = self.model.values[i].grad * clip
            self.mean[i].lerp_(grad, 0.1)
            self.square[i].lerp_(grad * grad, 0.001)
            mean = self.mean[i] / (1 - 0.9 ** self.updates[i])
            square = self.square[i] / (1 - 0.999 ** self.updates[i])
            self.values[i].sub_(rate * mean / (square.sqrt() + 1e-8))

    def evaluate(self, count, shots=()):
        self.enter()
        right = []
        for at in range(0, count, 32):
            right += self.model.right([encode(self.model.tokenizer, e["messages"], shots)
                                       for e in self.held_out[at:min(at + 32, count)]])
        return right


def load(site, split, count, seed):
    command = [ARGS.dump, site, split, str(count), str(seed)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def encode(tokenizer, messages, shots=()):
    """Token ids of the prompt and of the answer with its end mark, by the model's template."""
    head = messages[:1] + [m for s in shots for m in s["messages"][1:]]
    text = tokenizer.apply_chat_template(head + messages[1:2], tokenize=False,
                                         add_generation_prompt=True)
    answer = messages[2]["content"] + "<|im_end|>"
    return (tokenizer(text, add_special_tokens=False)["input_ids"],
            tokenizer(answer, add_special_tokens=False)["input_ids"])


def shares(site, right):
    """Share right: overall, by whose staff spoke, by trait."""
    groups = defaultdict(list)
    for e, r in zip(site.held_out, right):
        groups["all"].append(r)
        groups["visitors" if "visitor" in e["traits"] else "own staff"].append(r)
        for t in e["traits"]:
            groups[t].append(r)
    return {k: round(sum(v) / len(v), 4) for k, v in sorted(groups.items())}


def controls(sites, results):
    for site in sites:
        site.reset()  # the base itself, whatever was trained before
        plain = shares(site, site.evaluate(ARGS.held_out))
        few = shares(site, site.evaluate(ARGS.held_out, site.record[:5]))
        results["controls"][site.name] = {"base": plain, "base, five examples in the prompt": few}
        save(results)


def average(sites, half):
    for i, is_a in enumerate(sites[0].model.is_a):
        if half is None or is_a == half:
            mean = torch.stack([s.values[i] for s in sites]).mean(0)
            for s in sites:
                s.values[i].copy_(mean)


def learn(sites, together, results):
    curve = results["together" if together else "alone"] = []
    for s in sites:
        s.reset()
    started, evaluating = time.monotonic(), 0.0
    for step in range(1, ARGS.steps + 1):
        turn = (step - 1) // ARGS.round_steps
        half = turn % 2 == 1 if together and ARGS.aggregate == "rolora" else None
        losses = {s.name: s.train(half) for s in sites}
        if together and step % ARGS.round_steps == 0:
            average(sites, half)
        last = step == ARGS.steps or time.monotonic() - started > 60 * ARGS.minutes
        if step % ARGS.evaluate_every == 0 or last:
            spent = time.monotonic()
            count = ARGS.held_out if last else min(ARGS.glance, ARGS.held_out)
            row = {"step": step, "tokens": sum(s.tokens for s in sites), "loss": losses,
                   "examples": count,
                   "right": {s.name: shares(s, s.evaluate(count)) for s in sites}}
            evaluating += time.monotonic() - spent
            row["training_seconds"] = round(time.monotonic() - started - evaluating, 1)
            curve.append(row)
            save(results)
            print("together" if together else "alone", step, row["tokens"], row["training_seconds"],
                  {k: (v["all"], v["own staff"], v["visitors"]) for k, v in row["right"].items()},
                  flush=True)
        if last:
            results["stopped early"] = step < ARGS.steps
            return


def save(results):
    Path(ARGS.out).write_text(json.dumps(results, indent=1) + "\n")


def main():
    model = Model()
    global FIRST_VALUES
    FIRST_VALUES = [p.data.clone() for p in model.values]
    sites = [Site(name, model) for name in SITES]
    lengths = [len(p) + len(a) for s in sites for p, a in s.encoded]
    settings = {k: v for k, v in vars(ARGS).items() if k not in ("dump", "model", "out", "tables")}
    results = {"settings": settings, "controls": {},
               "tokens an example": round(sum(lengths) / len(lengths), 1)}
    print(results, max(lengths), flush=True)
    for mode in ARGS.modes.split(","):
        if mode == "controls":
            controls(sites, results)
            print(json.dumps(results["controls"]), flush=True)
        else:
            learn(sites, mode == "together", results)


if __name__ == "__main__":
    main()
