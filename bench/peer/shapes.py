"""Models of random weights in the true shape of larger ones: files that every peer reads."""
import random_model

from peer import llama_cpp
from peer.process import measured, say

TYPES = ["Q8_0", "Q4_0"]
# A prefill of many long prompts would take minutes here.
CONTEXT, STEPS = 32, 16
# What won most figures of SmolLM2's sweep.
SETTINGS = {"flash_attention": 1, "kv_type": "f16", "ubatch": 512}


def files_of(binaries, cache, name):
    """{type: file}, of the same weights; ours is the file of Q4_0."""
    source = cache / f"random-{name}.gguf"
    if not source.exists():
        say(f"making random weights in the shape of {name}")
        part = source.with_suffix(".part")
        random_model.write(name, part)
        part.rename(source)
    return llama_cpp.quantise(binaries, cache, source, TYPES, by_f32=False)


def pack(a):
    """Has our engine pack the weights, which it keeps for later starts."""
    measured([a.collm, "bench", "engine", "--model", a.model, "--prefill", 8, "--runs", 1,
              "--steps", 1, "--decode", 1, "--threads", a.threads], 600, [])
