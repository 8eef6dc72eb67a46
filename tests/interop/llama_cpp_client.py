"""llama.cpp beside the same adapters: its server library loads `collm adapter export --gguf`,
and answers as peft does with the exported PEFT folder.

    llama_cpp_client.py BASE.gguf LORA.gguf BASE.json ADAPTED.json

BASE.gguf holds f32, so that llama.cpp rounds nothing; BASE.json and ADAPTED.json are what
peft_client.py expects of the base and of the adapter. Ends with 0 if every case passed.
"""
import json
import pathlib
import sys

import xllamacpp

TOLERANCE = 2e-3  # of a logprob: f32 implementations that sum in another order
F32 = 0           # of ggml_type


def serve(model, lora):
    how = xllamacpp.CommonParams()
    how.model.path, how.n_ctx, how.warmup = model, 256, False
    how.cache_type_k = how.cache_type_v = xllamacpp.ggml_type(F32)
    how.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    # Two threads wait for each other where the cores have other work.
    how.cpuparams.n_threads = how.cpuparams_batch.n_threads = 1
    how.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(lora, 1.0)]
    return xllamacpp.Server(how)


def logprobs(server, ids, scale):
    """Of the token after `ids`: the best one and the best logprobs."""
    answer = server.handle_completions({
        "prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 20, "cache_prompt": False,
        "lora": [{"id": 0, "scale": scale}]})
    best = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return best[0]["id"], [entry["logprob"] for entry in best]


def worst(server, scale, expected):
    """The largest difference of a logprob, and how many greedy tokens are other ones."""
    difference, others = 0.0, 0
    for case in expected["cases"]:
        ids = list(case["prompt"])
        for step in case["steps"]:
            token, found = logprobs(server, ids, scale)
            others += token != step["token"]
            difference = max(difference, *(abs(a - b) for a, b in zip(found, step["logprobs"])))
            ids.append(step["token"])
    return difference, others


def main(model, lora, base, adapted):
    base, adapted = (json.loads(pathlib.Path(f).read_text()) for f in (base, adapted))
    server = serve(model, lora)
    rows = [("the base answers as transformers do", worst(server, 0.0, base), True),
            ("with the exported adapter it answers as peft with it", worst(server, 1.0, adapted),
             True),
            ("without, it answers otherwise", worst(server, 0.0, adapted), False)]
    failed = 0
    for name, (difference, others), same in rows:
        good = (difference < TOLERANCE and others == 0) if same else difference > 20 * TOLERANCE
        failed += not good
        print(f"{'ok   ' if good else 'FAIL '} {name}: logprobs differ by at most "
              f"{difference:.2g}, {others} greedy tokens are other ones", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
