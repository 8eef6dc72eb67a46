"""Writes a GGUF with random Q8_0 weights in the true shape of a published model, for rows of speed
and memory: what it says is noise, how long that takes is not. Our engine and llama.cpp load it.

  bench/random_model.py qwen2.5-0.5b FILE.gguf
  bench/random_model.py qwen2.5-1.5b FILE.gguf

The vocabulary is the bytes and a few merges, padded to the true size. The same bytes every time.
"""
import argparse
import random
import struct

# Of the config.json files of Qwen2.5-0.5B and Qwen2.5-1.5B.
SHAPES = {
    "qwen2.5-0.5b": dict(layers=24, hidden=896, ffn=4864, heads=14, kv_heads=2),
    "qwen2.5-1.5b": dict(layers=28, hidden=1536, ffn=8960, heads=12, kv_heads=2),
}
VOCAB, CONTEXT, THETA, EPSILON = 151936, 32768, 1e6, 1e-6
F32, Q8_0 = 0, 8
BLOCK, BLOCK_BYTES = 32, 34
ALIGNMENT = 32
BLOCKS_AT_ONCE = 1 << 18
U32, REAL, TEXT, LIST, INT = 4, 6, 8, 9, 5


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def key(name, kind, packed):
    return text(name) + struct.pack("<I", kind) + packed


def texts(name, values):
    return key(name, LIST, struct.pack("<IQ", TEXT, len(values)) + b"".join(map(text, values)))


def integers(name, values):
    return key(name, LIST, struct.pack(f"<IQ{len(values)}i", INT, len(values), *values))


def byte_alphabet():
    """GPT-2's printable spelling of each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return [chr(b) if b in shown else chr(256 + hidden.index(b)) for b in range(256)]


def keys(name, shape):
    alphabet = byte_alphabet()
    merges = [("t", "h"), ("i", "n"), ("e", "r")]
    words = alphabet + [left + right for left, right in merges]
    ends = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    padding = [f"[PAD{i}]" for i in range(VOCAB - len(words) - len(ends))]
    sizes = {"block_count": shape["layers"], "context_length": CONTEXT,
             "embedding_length": shape["hidden"], "feed_forward_length": shape["ffn"],
             "attention.head_count": shape["heads"],
             "attention.head_count_kv": shape["kv_heads"]}
    reals = {"rope.freq_base": THETA, "attention.layer_norm_rms_epsilon": EPSILON}
    return [
        key("general.architecture", TEXT, text("qwen2")),
        key("general.name", TEXT, text(f"random {name}")),
        *(key(f"qwen2.{k}", U32, struct.pack("<I", v)) for k, v in sizes.items()),
        *(key(f"qwen2.{k}", REAL, struct.pack("<f", v)) for k, v in reals.items()),
        key("tokenizer.ggml.model", TEXT, text("gpt2")),
        key("tokenizer.ggml.pre", TEXT, text("qwen2")),
        texts("tokenizer.ggml.tokens", words + ends + padding),
        integers("tokenizer.ggml.token_type",
                 [1] * len(words) + [3] * len(ends) + [5] * len(padding)),
        texts("tokenizer.ggml.merges", [f"{left} {right}" for left, right in merges]),
        key("tokenizer.ggml.eos_token_id", U32, struct.pack("<I", len(words))),
    ]


def tensors(shape):
    """name, elements of a row, rows; one row: a vector."""
    hidden, ffn = shape["hidden"], shape["ffn"]
    head_dim = hidden // shape["heads"]
    queries, pairs = hidden, shape["kv_heads"] * head_dim
    yield "token_embd.weight", hidden, VOCAB
    yield "output_norm.weight", hidden, 1
    for layer in range(shape["layers"]):
        for name, inputs, rows in [
                ("attn_norm.weight", hidden, 1), ("ffn_norm.weight", hidden, 1),
                ("attn_q.weight", hidden, queries), ("attn_q.bias", queries, 1),
                ("attn_k.weight", hidden, pairs), ("attn_k.bias", pairs, 1),
                ("attn_v.weight", hidden, pairs), ("attn_v.bias", pairs, 1),
                ("attn_output.weight", queries, hidden), ("ffn_gate.weight", hidden, ffn),
                ("ffn_up.weight", hidden, ffn), ("ffn_down.weight", ffn, hidden)]:
            yield f"blk.{layer}.{name}", inputs, rows


def size_of(inputs, rows):
    return inputs * 4 if rows == 1 else inputs * rows // BLOCK * BLOCK_BYTES


def padded(size):
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def directory(shape):
    offset, entries = 0, []
    for name, inputs, rows in tensors(shape):
        dims = [inputs] if rows == 1 else [inputs, rows]
        kind = F32 if rows == 1 else Q8_0
        head = struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        entries.append(text(name) + head)
        offset += padded(size_of(inputs, rows))
    return entries


def vector(name, count):
    return struct.pack("<f", 1.0 if "norm" in name else 0.01) * count


def matrix(numbers, inputs, rows):
    """Uniform bytes have a deviation of 74; with this scale a product keeps its input's size."""
    scale = struct.pack("<e", inputs ** -0.5 / 74)
    left = inputs * rows // BLOCK
    while left > 0:
        count = min(left, BLOCKS_AT_ONCE)
        blocks = bytearray(numbers.randbytes(count * BLOCK_BYTES))
        blocks[0::BLOCK_BYTES] = scale[:1] * count
        blocks[1::BLOCK_BYTES] = scale[1:] * count
        yield blocks
        left -= count


def write(name, path):
    shape, numbers = SHAPES[name], random.Random(7)
    entries, metadata = directory(shape), keys(name, shape)
    head = (b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(metadata)) + b"".join(metadata)
            + b"".join(entries))
    with open(path, "wb") as out:
        out.write(head.ljust(padded(len(head)), b"\0"))
        for tensor, inputs, rows in tensors(shape):
            pieces = [vector(tensor, inputs)] if rows == 1 else matrix(numbers, inputs, rows)
            for piece in pieces:
                out.write(piece)
            out.write(b"\0" * (padded(size_of(inputs, rows)) - size_of(inputs, rows)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("file")
    options = parser.parse_args()
    write(options.shape, options.file)
