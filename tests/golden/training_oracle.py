"""Writes data/training/NAME.json: what peft and torch's AdamW say of training the tiny models of
models_oracle.py from their committed adapters: the gradients of every factor in the first batch,
and 20 losses.

Samples do not see each other, the loss is the mean over all completion tokens of a batch, and one
sample is longer than the windows that the test computes in.

  python tests/golden/training_oracle.py [NAME...]
"""
import json
import pathlib
import sys
import tempfile

import torch

import models_oracle

FOLDER = pathlib.Path(__file__).parent / "data"
NAMES = ("tied", "untied", "qwen2", "qwen3", "gemma3")
TARGETS = ("q", "k", "v", "o", "gate", "up", "down")
OPTIONS = dict(learning_rate=5e-3, warmup_steps=4, weight_decay=0.05, beta1=0.9, beta2=0.99,
               epsilon=1e-8, clip=0.5, lora_plus_ratio=2.0)
STEPS = 20


def samples(vocab, seed):
    """Two batches of (tokens, prompt_tokens)."""
    draw = torch.Generator().manual_seed(seed)
    shapes = (((9, 4), (41, 17), (5, 1), (12, 11)), ((23, 2), (8, 3), (7, 6)))
    return [[(torch.randint(3, vocab, (n,), generator=draw).tolist(), prompt)
             for n, prompt in batch] for batch in shapes]


def loss_of(model, batch):
    total = 0
    for tokens, prompt in batch:
        logits = model(torch.tensor([tokens])).logits[0]
        total = total + torch.nn.functional.cross_entropy(
            logits[prompt - 1:-1], torch.tensor(tokens[prompt:]), reduction="sum")
    return total / sum(len(tokens) - prompt for tokens, prompt in batch)


def factors(model):
    """(name, parameter) in the engine's order."""
    found = {}
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            at = name.split(".layers.")[1].split(".")
            layer, target = int(at[0]), at[2].removesuffix("_proj")
            letter = "B" if "lora_B" in name else "A"
            found[layer, TARGETS.index(target), letter] = (
                f"layers.{layer}.{target}.{letter}", parameter)
    return [found[key] for key in sorted(found)]


def short(values):
    return [float(f"{v:.6g}") for v in values]


def train(model, batches):
    """Gradients of the first batch by factor, and the loss of every step before its update."""
    named = factors(model)
    for _, parameter in named:
        parameter.requires_grad_(True)
    rate, ratio = OPTIONS["learning_rate"], OPTIONS["lora_plus_ratio"]
    groups = [{"params": [p for n, p in named if n[-1] == letter], "share": share}
              for letter, share in (("A", 1.0), ("B", ratio))]
    adam = torch.optim.AdamW(groups, lr=rate, betas=(OPTIONS["beta1"], OPTIONS["beta2"]),
                             eps=OPTIONS["epsilon"], weight_decay=OPTIONS["weight_decay"])
    gradients, losses = {}, []
    for step in range(1, STEPS + 1):
        adam.zero_grad()
        loss = loss_of(model, batches[(step - 1) % len(batches)])
        loss.backward()
        if step == 1:
            gradients = {n: short(p.grad.flatten().tolist()) for n, p in named}
        torch.nn.utils.clip_grad_norm_([p for _, p in named], OPTIONS["clip"])
        for group in adam.param_groups:
            group["lr"] = rate * group["share"] * min(1.0, step / OPTIONS["warmup_steps"])
        adam.step()
        losses.append(loss.item())
    return gradients, losses


def write(name):
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        models_oracle.DATA = pathlib.Path(folder)
        model = models_oracle.tiny(name, models_oracle.MODELS[name])
        for file in ("adapter_model.safetensors", "adapter_config.json"):
            same = (pathlib.Path(folder) / name / "lora" / file).read_bytes()
            if same != (FOLDER / name / "lora" / file).read_bytes():
                sys.exit(f"{name}: {file} is not what models_oracle.py committed")
    batches = samples(models_oracle.MODELS[name]["vocab_size"], 7)
    gradients, losses = train(model, batches)
    expected = {"options": OPTIONS, "gradients": gradients, "losses": short(losses),
                "batches": [[{"tokens": t, "prompt_tokens": p} for t, p in b] for b in batches]}
    (FOLDER / "training").mkdir(exist_ok=True)
    (FOLDER / "training" / f"{name}.json").write_text(
        json.dumps(expected, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    for model_name in sys.argv[1:] or NAMES:
        write(model_name)
