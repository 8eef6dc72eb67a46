"""transformers and peft beside a cluster of `precision: f32`; runs in the Python of ./dev golden.

    peft_client.py make MODEL.gguf FOLDER      FOLDER/made: a PEFT adapter that changes answers, as
                                               peft saves it; FOLDER/base.gguf: the model in f32;
                                               FOLDER/base.json, FOLDER/made.json: as below
    peft_client.py expect FOLDER NAME ADAPTER  FOLDER/NAME.json: greedy tokens and their best
                                               logprobs, by peft, with the PEFT folder ADAPTER
"""
import json
import pathlib
import sys

import gguf
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROMPTS = ["Once upon a time there was a lamp that", "The kitchen light is",
           "<|im_start|>user\nkitchen order 3<|im_end|>\n<|im_start|>assistant\n"]
STEPS, BEST = 12, 20
torch.set_num_threads(1)  # two of them wait for each other where the cores have other work


def from_gguf(model, folder):
    """The model in f32 and its tokenizer; kept in `folder` for the next call, since the package
    takes long over a GGUF."""
    base = AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name,
                                                dtype=torch.float32, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
    tokenizer.save_pretrained(folder / "kept")
    del base.config.quantization_config  # it is f32 now
    base.config.save_pretrained(folder / "kept")
    torch.save(base.state_dict(), folder / "kept/weights.pt")
    return base, tokenizer


def kept(folder):
    config = AutoConfig.from_pretrained(folder / "kept")
    base = AutoModelForCausalLM.from_config(config, dtype=torch.float32,
                                            attn_implementation="eager")
    base.load_state_dict(torch.load(folder / "kept/weights.pt"))
    return base, AutoTokenizer.from_pretrained(folder / "kept")


def write_f32_gguf(model, out):
    """The same model with nothing rounded, for llama.cpp."""
    reader = gguf.GGUFReader(model)
    kind = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, kind)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = gguf.LlamaFileType.ALL_F32 if name == "general.file_type" else field.contents()
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_adapter(model):
    torch.manual_seed(3)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.01)
    return adapted


def greedy(model, ids):
    """[(token, its best logprobs)] of STEPS tokens."""
    out = []
    for _ in range(STEPS):
        logprobs = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        best = logprobs.topk(BEST)
        out.append({"token": best.indices[0].item(), "logprobs": best.values.tolist()})
        ids = ids + [out[-1]["token"]]
    return out


def b_norm(model):
    """The size of what the adapter learnt: 0 for one that was never trained."""
    return sum(p.double().norm().item() ** 2 for n, p in model.named_parameters()
               if "lora_B" in n) ** 0.5


def write_expected(network, tokenizer, out):
    network.eval()
    cases = []
    with torch.no_grad():
        for prompt in PROMPTS:
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            steps = greedy(network, ids)
            for step in steps:
                step["text"] = tokenizer.decode([step["token"]])
            cases.append({"prompt": ids, "steps": steps})
    out.write_text(json.dumps({"cases": cases, "b_norm": b_norm(network)}))


def make(model, folder):
    model, folder = pathlib.Path(model), pathlib.Path(folder)
    base, tokenizer = from_gguf(model, folder)
    write_f32_gguf(model, folder / "base.gguf")
    write_expected(base, tokenizer, folder / "base.json")
    adapted = random_adapter(base)
    adapted.save_pretrained(folder / "made")
    write_expected(adapted, tokenizer, folder / "made.json")


def expect(folder, name, adapter):
    folder = pathlib.Path(folder)
    base, tokenizer = kept(folder)
    write_expected(PeftModel.from_pretrained(base, adapter), tokenizer, folder / f"{name}.json")


if __name__ == "__main__":
    {"make": make, "expect": expect}[sys.argv[1]](*sys.argv[2:])
