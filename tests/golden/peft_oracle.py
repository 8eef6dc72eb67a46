"""Writes data/peft_odd: an adapter folder as peft saves it, for tests/support/tiny_model.hpp.

Ranks and alphas differ by module, rsLoRA is on, one module is adapted in one layer only: what the
loader must resolve as peft does. data/peft_odd/scales.txt holds the scale that peft computes for
every adapted module, and the sum of the products of its factors, so that the test compares
numbers and not only shapes.

With a folder as argument: loads it in peft instead and prints the same lines (the way back).
"""
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from adapter_folder import settle

FOLDER = pathlib.Path(__file__).with_name("data") / "peft_odd"


def tiny_llama():
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=263, hidden_size=48, intermediate_size=72, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=12, max_position_embeddings=640))


def lines(model):
    """module, scale, sum of |B A|"""
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and "default" in getattr(module, "lora_A"):
            a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
            short = name.removeprefix("base_model.model.")
            product = (b.double() @ a.double()).abs().sum()
            yield f"{short} {module.scaling['default']:.9g} {product:.9g}"


def write():
    torch.manual_seed(4)
    config = LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, task_type="CAUSAL_LM", base_model_name_or_path="tiny",
        target_modules=["q_proj", "v_proj", "layers.1.mlp.down_proj"],
        rank_pattern={"layers.0.self_attn.q_proj": 2, "down_proj": 3}, alpha_pattern={"v_proj": 10})
    model = get_peft_model(tiny_llama(), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    FOLDER.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(FOLDER)
    settle(FOLDER)
    (FOLDER / "scales.txt").write_text("\n".join(lines(model)) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print("\n".join(lines(PeftModel.from_pretrained(tiny_llama(), sys.argv[1]))))
    else:
        write()
