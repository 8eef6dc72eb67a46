"""Writes data/<model>/lora.gguf: the model's PEFT adapter as a GGUF LoRA, by the gguf package, with
rows of q and k in the order that the model's own GGUF has them in.
"""
import json
import pathlib

import gguf
import numpy as np
from safetensors.numpy import load_file

from models_oracle import MODELS, gguf_name, interleave

DATA = pathlib.Path(__file__).parent / "data"
CASES = ["tied", "gemma3"]  # rows interleaved, rows as they are


def write(name):
    kind, folder = MODELS[name]["kind"], DATA / name
    config = json.loads((folder / "lora" / "adapter_config.json").read_text())
    writer = gguf.GGUFWriter(str(folder / "lora.gguf"), kind)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(config["lora_alpha"]))
    for key, value in load_file(folder / "lora" / "adapter_model.safetensors").items():
        module, factor, _ = key.removeprefix("base_model.model.").rsplit(".", 2)
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(
            module.rsplit(".", 1)[1])
        if kind == "llama" and heads and factor == "lora_B":
            value = interleave(value, MODELS[name][heads])
        writer.add_tensor(f"{gguf_name(module + '.weight', kind)}.{factor.lower()}",
                          np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    for case in CASES:
        write(case)
