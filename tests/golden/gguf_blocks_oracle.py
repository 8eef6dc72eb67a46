"""Writes data/gguf_blocks.json: for every GGUF tensor type that the engine reads, three blocks of
random bytes (their half-precision scales made finite) and what the gguf package makes of them.
"""
import json
import pathlib

import gguf
import numpy as np

DATA = pathlib.Path(__file__).parent / "data"
# Where a block holds half-precision numbers.
HALVES = {"F16": [0], "BF16": [], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
          "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def case(name, random):
    kind = gguf.GGMLQuantizationType[name]
    _, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (3, size), dtype=np.uint8)
    for at in HALVES[name]:
        halves = random.normal(0, 0.1, (3, 1)).astype(np.float16)
        blocks[:, at:at + 2] = halves.view(np.uint8)
    if name == "BF16":
        blocks[:, 1] = [0x3f, 0xbf, 0x00]
    values = gguf.dequantize(blocks.reshape(-1), kind)
    return {"number": int(kind), "bytes": blocks.tobytes().hex(),
            "values": [float(f"{v:.9g}") for v in values.reshape(-1).tolist()]}


if __name__ == "__main__":
    numbers = np.random.default_rng(5)
    cases = {name: case(name, numbers) for name in HALVES}
    (DATA / "gguf_blocks.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
