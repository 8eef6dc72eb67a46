"""Writes the golden data of the engine's forward pass: tiny random models of every architecture as
GGUF with PEFT adapters, and what transformers and peft answer with the very weights that the GGUF
holds. Development only; the data are committed.

  python tests/golden/models_oracle.py             the tiny models
  python tests/golden/models_oracle.py NAME...     some of them
  python tests/golden/models_oracle.py --smollm2   a real model's expected logits and greedy tokens
  python tests/golden/models_oracle.py --gemma3    another's

Weights are float32; a GGUF type that rounds is rounded before the oracle sees it.
"""
import argparse
import json
import os
import pathlib
import shutil

import gguf
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import (AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig,
                          LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)

from adapter_folder import settle

DATA = pathlib.Path(__file__).parent / "data"
TYPES = {name: gguf.GGMLQuantizationType[name]
         for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")}
CLASSES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM),
           "qwen3": (Qwen3Config, Qwen3ForCausalLM),
           "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM)}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Odd shapes on purpose: no width is a multiple of a vector, heads share keys, head_dim is not
# hidden / heads.
MODELS = {
    "tied": dict(kind="llama", hidden_size=24, num_attention_heads=3, num_key_value_heads=1,
                 head_dim=8, intermediate_size=56, num_hidden_layers=2, vocab_size=97,
                 rope_theta=10000.0, tie_word_embeddings=True, max_position_embeddings=256,
                 types="F32", seed=11, lora=dict(r=4, lora_alpha=8, target_modules=ALL)),
    "untied": dict(kind="llama", hidden_size=40, num_attention_heads=4, num_key_value_heads=2,
                   head_dim=12, intermediate_size=56, num_hidden_layers=3, vocab_size=261,
                   rope_theta=100000.0, tie_word_embeddings=False, max_position_embeddings=320,
                   types="F16", seed=12,
                   lora=dict(r=3, lora_alpha=5, use_rslora=True,
                             target_modules=["q_proj", "v_proj", "down_proj"])),
    "blocks": dict(kind="llama", hidden_size=64, num_attention_heads=2, num_key_value_heads=2,
                   head_dim=32, intermediate_size=96, num_hidden_layers=2, vocab_size=97,
                   rope_theta=500.0, tie_word_embeddings=True, max_position_embeddings=256,
                   types="Q8_0", seed=13,
                   lora=dict(r=8, lora_alpha=8,
                             target_modules=["k_proj", "o_proj", "gate_proj", "up_proj"])),
    "nibbles": dict(kind="llama", hidden_size=64, num_attention_heads=4, num_key_value_heads=1,
                    head_dim=16, intermediate_size=96, num_hidden_layers=1, vocab_size=97,
                    rope_theta=10000.0, tie_word_embeddings=True, max_position_embeddings=256,
                    types="Q4_1 Q4_0", seed=14,
                    lora=dict(r=1, lora_alpha=2, target_modules=["q_proj"])),
    "qwen2": dict(kind="qwen2", hidden_size=64, num_attention_heads=4, num_key_value_heads=2,
                  intermediate_size=96, num_hidden_layers=2, vocab_size=97, rope_theta=1000000.0,
                  tie_word_embeddings=False, max_position_embeddings=256, types="Q5_0 Q5_1",
                  seed=15, lora=dict(r=4, lora_alpha=8, target_modules=ALL)),
    "qwen3": dict(kind="qwen3", hidden_size=40, num_attention_heads=3, num_key_value_heads=1,
                  head_dim=10, intermediate_size=56, num_hidden_layers=2, vocab_size=97,
                  rope_theta=1000000.0, tie_word_embeddings=True, max_position_embeddings=256,
                  types="F16", seed=16,
                  lora=dict(r=3, lora_alpha=6, target_modules=["q_proj", "k_proj", "down_proj"])),
    # Seven layers: five with a window, one without, one more with.
    "gemma3": dict(kind="gemma3", hidden_size=36, num_attention_heads=3, num_key_value_heads=1,
                   head_dim=10, query_pre_attn_scalar=10, intermediate_size=52,
                   num_hidden_layers=7, vocab_size=97, rope_theta=1000000.0, sliding_window=6,
                   tie_word_embeddings=True, max_position_embeddings=256, types="BF16", seed=17,
                   lora=dict(r=4, lora_alpha=8, target_modules=ALL)),
    # The same as Hugging Face folders: halves, shards, a window in another pattern, scores that are
    # not divided by sqrt(head_dim).
    "llama_folder": dict(kind="llama", hidden_size=24, num_attention_heads=3,
                         num_key_value_heads=1, head_dim=8, intermediate_size=56,
                         num_hidden_layers=2, vocab_size=345, rope_theta=10000.0,
                         tie_word_embeddings=False, max_position_embeddings=256, seed=18,
                         words="llama3",
                         dtype=torch.float16, shard="1GB",
                         lora=dict(r=4, lora_alpha=8, target_modules=ALL)),
    "qwen2_folder": dict(kind="qwen2", hidden_size=40, num_attention_heads=4,
                         num_key_value_heads=1, intermediate_size=56, num_hidden_layers=2,
                         vocab_size=350, rope_theta=1000000.0, tie_word_embeddings=True,
                         max_position_embeddings=256, seed=19, dtype=torch.bfloat16, words="qwen2",
                         shard="30KB", lora=dict(r=2, lora_alpha=2, target_modules=["v_proj"])),
    "qwen3_folder": dict(kind="qwen3", hidden_size=40, num_attention_heads=4,
                         num_key_value_heads=2, head_dim=12, intermediate_size=56,
                         num_hidden_layers=2, vocab_size=350, rope_theta=1000000.0,
                         tie_word_embeddings=False, max_position_embeddings=256, seed=21,
                         dtype=torch.bfloat16, words="qwen2", shard="40KB",
                         lora=dict(r=3, lora_alpha=6, target_modules=["q_proj", "up_proj"])),
    "gemma3_folder": dict(kind="gemma3", hidden_size=36, num_attention_heads=2,
                          num_key_value_heads=1, head_dim=14, query_pre_attn_scalar=9,
                          intermediate_size=52, num_hidden_layers=4, vocab_size=669,
                          words="gemma",
                          rope_theta=500000.0, sliding_window=5, sliding_window_pattern=3,
                          tie_word_embeddings=True, max_position_embeddings=256, seed=20,
                          dtype=torch.float32, shard="1GB",
                          lora=dict(r=4, lora_alpha=8, target_modules=ALL)),
}
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm"}
GEMMA_NAMES = {"post_attention_layernorm": "post_attention_norm",
               "pre_feedforward_layernorm": "ffn_norm",
               "post_feedforward_layernorm": "post_ffw_norm"}


def gguf_name(name, kind):
    fixed = {"model.embed_tokens.weight": "token_embd.weight",
             "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in fixed:
        return fixed[name]
    _, _, layer, rest = name.split(".", 3)
    module, what = rest.rsplit(".", 1)
    names = NAMES | GEMMA_NAMES if kind == "gemma3" else NAMES
    return f"blk.{layer}.{names[module]}.{what}"


def interleave(weight, heads):
    """Hugging Face's rotary row order to GGUF's (pairs side by side), as llama.cpp's converter
    does it for Llama."""
    out, inputs = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, inputs).swapaxes(1, 2).reshape(out, inputs)


def byte_alphabet():
    """GPT-2's printable spelling of each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return [chr(b) if b in shown else chr(256 + hidden.index(b)) for b in range(256)]


def write_vocabulary(writer, size):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = (special + byte_alphabet() + ["th", "in"])[:size]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (size - 3))
    writer.add_token_merges(["t h", "i n"] if size > 259 else [])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_keys(writer, config, kind, theta):
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    if kind != "qwen2":  # its head_dim is hidden / heads, and its files do not say so
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if kind == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    if kind == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    write_vocabulary(writer, config.vocab_size)


def write_gguf(path, config, model, types, kind, theta):
    writer = gguf.GGUFWriter(str(path), kind)
    write_keys(writer, config, kind, theta)
    for index, (name, tensor) in enumerate(model.state_dict().items()):
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        weight = tensor.numpy()
        if kind == "gemma3" and weight.ndim == 1:  # norms: the file holds the whole gain
            weight = weight + 1
        stored_as = TYPES["F32"] if weight.ndim == 1 else TYPES[types[index % len(types)]]
        stored = gguf.quantize(weight, stored_as)
        if weight.ndim == 2:
            rounded = np.array(gguf.dequantize(stored, stored_as), dtype=np.float32)
            rounded = rounded.reshape(weight.shape)
            tensor.copy_(torch.from_numpy(rounded))
            if kind == "llama" and ("q_proj" in name or "k_proj" in name):
                heads = (config.num_attention_heads if "q_proj" in name
                         else config.num_key_value_heads)
                stored = gguf.quantize(np.ascontiguousarray(interleave(rounded, heads)), stored_as)
        writer.add_tensor(gguf_name(name, kind), stored, raw_dtype=stored_as)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def greedy(model, prompt, count):
    tokens, step, past = [], list(prompt), None
    for _ in range(count):
        out = model(torch.tensor([step]), past_key_values=past, use_cache=True)
        past, step = out.past_key_values, [int(out.logits[0, -1].argmax())]
        tokens += step
    return tokens


def answers(model, prompt):
    logits = model(torch.tensor([prompt])).logits[0]
    return {"logits": [[float(f"{v:.7g}") for v in row] for row in logits.tolist()],
            "greedy": greedy(model, prompt, 64)}


def rope(kind, theta):
    whole = {"rope_type": "default", "rope_theta": theta}
    local = {"rope_type": "default", "rope_theta": 10000.0}
    return {"full_attention": whole, "sliding_attention": local} if kind == "gemma3" else whole


def randomise(model, kind):
    """transformers starts norms at 1 and biases at 0: random ones are told apart."""
    for name, parameter in model.named_parameters():
        centre = 1 if name.endswith("norm.weight") and kind != "gemma3" else 0
        spread = 0.1 if "norm" in name else 0.2
        parameter.copy_(torch.randn_like(parameter) * spread + centre)


def save_folder(path, model, dtype, shard, words):
    """Saves in `dtype`; the model that goes on is what that rounded, read anew: its rotary angles
    stay exact. `words`: a tokenizer of tokenizer_kinds_oracle.py, with fewer tokens than rows."""
    model.to(dtype).save_pretrained(path, max_shard_size=shard)
    (path / "generation_config.json").unlink()
    kinds = json.loads((DATA.parent / "tokenizer_kinds.json").read_text())["kinds"]
    (path / "tokenizer.json").write_text(json.dumps(kinds[words]["tokenizer"]) + "\n")
    return type(model).from_pretrained(path, dtype=torch.float32,
                                       attn_implementation="eager").eval()


def tiny(name, spec):
    spec = dict(spec)
    kind, lora, seed, theta = (spec.pop(key) for key in ("kind", "lora", "seed", "rope_theta"))
    types, dtype, shard, words = (
        spec.pop(key, None) for key in ("types", "dtype", "shard", "words"))
    torch.manual_seed(seed)
    config_class, model_class = CLASSES[kind]
    config = config_class(**spec, rope_parameters=rope(kind, theta), rms_norm_eps=1e-5,
                          attn_implementation="eager")
    model = model_class(config).eval()
    randomise(model, kind)
    folder = DATA / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if dtype:
        model = save_folder(folder / "model", model, dtype, shard, words)
    else:
        write_gguf(folder / "model.gguf", config, model, types.split(), kind, theta)
    prompt = torch.randint(3, config.vocab_size, (21,)).tolist()
    expected = {"prompt": prompt, "base": answers(model, prompt)}
    adapted = get_peft_model(model, LoraConfig(**lora, task_type="CAUSAL_LM"))
    for key, parameter in adapted.named_parameters():
        if "lora_" in key:
            parameter.copy_(torch.randn_like(parameter) * 0.15)
    adapted.save_pretrained(folder / "lora")
    settle(folder / "lora")
    expected["lora"] = answers(adapted.eval(), prompt)
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    return adapted


def real(file, prompts, to):
    """`prompts` in tokens, or as text."""
    models = pathlib.Path(os.environ.get("COLLM_CACHE", pathlib.Path.home() / ".cache" / "collm"),
                          "models")
    model = AutoModelForCausalLM.from_pretrained(models, gguf_file=file, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    if isinstance(prompts[0], str):
        tokenizer = AutoTokenizer.from_pretrained(models, gguf_file=file)
        prompts = [tokenizer(text).input_ids for text in prompts]
    cases = []
    for prompt in prompts:
        logits = model(torch.tensor([prompt])).logits[0]
        top = logits[-1].topk(20)
        last = 1032 if len(prompt) < 100 else 1004
        cases.append({"prompt": prompt, "top": top.indices.tolist(),
                      "top_logits": top.values.tolist(), "columns": logits[:, 1000:last].tolist(),
                      "first_column": 1000, "greedy": greedy(model, prompt, 64)})
    (DATA / to).write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def smollm2():
    real("smollm2-135m-instruct.gguf", [
        [504, 3575, 282, 4649, 314],
        [1, 4093, 198, 5195, 281, 665, 3950, 827, 260, 6202, 28, 411, 357, 416, 1250, 288, 253,
         1331, 30, 2, 198, 1, 520, 9531, 198],
        [1604, 9042, 24, 94, 25, 42, 198, 216, 216, 1098]], "smollm2.json")


def gemma3():
    long = (DATA / "perplexity.txt").read_text()[:3000]  # more tokens than the window of 512
    real("gemma3-270m.gguf", ["The capital of France is", "def add(a, b):\n    return", long],
         "gemma3_270m.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--gemma3", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    if options.smollm2:
        smollm2()
    elif options.gemma3:
        gemma3()
    else:
        for name in options.names or MODELS:
            tiny(name, MODELS[name])
