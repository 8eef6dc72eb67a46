"""Writes the golden data of the engine's forward pass: tiny random Llama-family models as GGUF with PEFT adapters, and what
transformers and peft answer with the very weights that the GGUF holds. Development only; the data are committed.

  python tests/golden/llama_golden.py            the tiny models
  python tests/golden/llama_golden.py --smollm2  the real model's expected logits and greedy tokens

Needs torch, transformers, peft, gguf. Weights are float32; a GGUF type that rounds is rounded before the oracle sees it.
"""
import argparse
import json
import os
import pathlib
import shutil

import gguf
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

DATA = pathlib.Path(__file__).parent / "data"
TYPES = {"F32": gguf.GGMLQuantizationType.F32, "F16": gguf.GGMLQuantizationType.F16, "Q8_0": gguf.GGMLQuantizationType.Q8_0,
         "Q4_0": gguf.GGMLQuantizationType.Q4_0, "Q4_1": gguf.GGMLQuantizationType.Q4_1}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Odd shapes on purpose: no width is a multiple of a vector, heads share keys, head_dim is not hidden / heads.
MODELS = {
    "tied": dict(hidden_size=24, num_attention_heads=3, num_key_value_heads=1, head_dim=8, intermediate_size=56,
                 num_hidden_layers=2, vocab_size=97, rope_theta=10000.0, tie_word_embeddings=True,
                 max_position_embeddings=256, types="F32", seed=11,
                 lora=dict(r=4, lora_alpha=8, target_modules=ALL)),
    "untied": dict(hidden_size=40, num_attention_heads=4, num_key_value_heads=2, head_dim=12, intermediate_size=56,
                   num_hidden_layers=3, vocab_size=261, rope_theta=100000.0, tie_word_embeddings=False,
                   max_position_embeddings=320, types="F16", seed=12,
                   lora=dict(r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"])),
    "blocks": dict(hidden_size=64, num_attention_heads=2, num_key_value_heads=2, head_dim=32, intermediate_size=96,
                   num_hidden_layers=2, vocab_size=97, rope_theta=500.0, tie_word_embeddings=True,
                   max_position_embeddings=256, types="Q8_0", seed=13,
                   lora=dict(r=8, lora_alpha=8, target_modules=["k_proj", "o_proj", "gate_proj", "up_proj"])),
    "nibbles": dict(hidden_size=64, num_attention_heads=4, num_key_value_heads=1, head_dim=16, intermediate_size=96,
                    num_hidden_layers=1, vocab_size=97, rope_theta=10000.0, tie_word_embeddings=True,
                    max_position_embeddings=256, types="Q4_1 Q4_0", seed=14,
                    lora=dict(r=1, lora_alpha=2, target_modules=["q_proj"])),
}
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in fixed:
        return fixed[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def interleave(weight, heads):
    """Hugging Face's rotary row order to GGUF's (pairs side by side), as llama.cpp's converter does it."""
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


def write_gguf(path, config, model, types):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(THETA[0])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    write_vocabulary(writer, config.vocab_size)
    state = model.state_dict()
    for index, (name, tensor) in enumerate(state.items()):
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        weight = tensor.numpy()
        kind = TYPES["F32"] if weight.ndim == 1 else TYPES[types[index % len(types)]]
        stored = gguf.quantize(weight, kind)
        rounded = np.array(gguf.dequantize(stored, kind), dtype=np.float32).reshape(weight.shape)
        tensor.copy_(torch.from_numpy(rounded))
        if "q_proj" in name or "k_proj" in name:
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            stored = gguf.quantize(np.ascontiguousarray(interleave(rounded, heads)), kind)
        writer.add_tensor(gguf_name(name), stored, raw_dtype=kind)
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
    return {"logits": [[float(f"{v:.7g}") for v in row] for row in logits.tolist()], "greedy": greedy(model, prompt, 64)}


THETA = [10000.0]


def tiny(name, spec):
    spec = dict(spec)
    types, lora, seed, THETA[0] = spec.pop("types").split(), spec.pop("lora"), spec.pop("seed"), spec["rope_theta"]
    torch.manual_seed(seed)
    config = LlamaConfig(**spec, rms_norm_eps=1e-5, attn_implementation="eager")
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():  # transformers starts norms at 1: random ones are told apart
        scale = 0.2 if parameter.ndim == 2 else 0.1
        parameter.copy_(torch.randn_like(parameter) * scale + (1 if parameter.ndim == 1 else 0))
    folder = DATA / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_gguf(folder / "model.gguf", config, model, types)
    prompt = torch.randint(3, config.vocab_size, (21,)).tolist()
    expected = {"prompt": prompt, "base": answers(model, prompt)}
    adapted = get_peft_model(model, LoraConfig(**lora, task_type="CAUSAL_LM"))
    for key, parameter in adapted.named_parameters():
        if "lora_" in key:
            parameter.copy_(torch.randn_like(parameter) * 0.15)
    adapted.save_pretrained(folder / "lora")
    (folder / "lora" / "README.md").unlink(missing_ok=True)
    expected["lora"] = answers(adapted.eval(), prompt)
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


def smollm2():
    cache = pathlib.Path(os.environ.get("COLLM_CACHE", pathlib.Path.home() / ".cache" / "collm")) / "models"
    model = LlamaForCausalLM.from_pretrained(cache, gguf_file="smollm2-135m-instruct.gguf", dtype=torch.float32,
                                             attn_implementation="eager").eval()
    prompts = [[504, 3575, 282, 4649, 314],
               [1, 4093, 198, 5195, 281, 665, 3950, 827, 260, 6202, 28, 411, 357, 416, 1250, 288, 253, 1331, 30, 2, 198, 1, 520, 9531, 198],
               [1604, 9042, 24, 94, 25, 42, 198, 216, 216, 1098]]
    cases = []
    for prompt in prompts:
        logits = model(torch.tensor([prompt])).logits[0]
        top = logits[-1].topk(20)
        cases.append({"prompt": prompt, "top": top.indices.tolist(), "top_logits": top.values.tolist(),
                      "columns": logits[:, 1000:1032].tolist(), "first_column": 1000,
                      "greedy": greedy(model, prompt, 64)})
    (DATA / "smollm2.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--smollm2", action="store_true")
    torch.set_grad_enabled(False)
    if parser.parse_args().smollm2:
        smollm2()
    else:
        for name, spec in MODELS.items():
            tiny(name, spec)
