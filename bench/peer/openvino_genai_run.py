"""One measurement of OpenVINO GenAI, run with the Python of its own environment: JSON on stdout.

  PYTHON bench/peer/openvino_genai_run.py MODEL.gguf THREADS PROMPT CONTEXT STEPS 1,16,32

It reads the same GGUF file as the others. Speeds as in bench/peers.py: tokens a second of a prompt
of PROMPT tokens, and of STEPS tokens of each sequence after CONTEXT tokens (the time of one token
is taken off, which is the prompt's).
"""
import json
import sys
import time

import numpy as np
import openvino as ov
import openvino_genai as genai

FIRST_TOKEN, TOKENS = 1000, 40000  # any ordinary ones: the time does not depend on them


def inputs(sequences, tokens, salt):
    ids = np.array([[FIRST_TOKEN + (s * 7919 + i * 131 + salt * 17) % TOKENS
                     for i in range(tokens)] for s in range(sequences)], dtype=np.int64)
    return genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))


def seconds(pipeline, sequences, tokens, answer, salt):
    how = genai.GenerationConfig()
    how.max_new_tokens = answer
    how.min_new_tokens = answer
    how.ignore_eos = True
    how.do_sample = False
    asked = inputs(sequences, tokens, salt)
    start = time.perf_counter()
    found = pipeline.generate(asked, how)
    took = time.perf_counter() - start
    lengths = {len(answered) for answered in found.tokens}
    if lengths != {answer}:
        sys.exit(f"asked for {answer} tokens of each sequence, got {lengths}")
    return took


def main():
    model, threads, prompt, context, steps = sys.argv[1], *map(int, sys.argv[2:6])
    batches = [int(n) for n in sys.argv[6].split(",")]
    pipeline = genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    seconds(pipeline, 1, prompt, 2, 0)  # warms up
    rates = {"prefill": prompt / seconds(pipeline, 1, prompt, 1, 1)}
    for salt, n in enumerate(batches, 2):
        first = seconds(pipeline, n, context, 1, 10 * salt)
        whole = seconds(pipeline, n, context, steps + 1, 10 * salt + 1)
        rates[f"decode_{n}"] = n * steps / (whole - first)
    print(json.dumps({"rates": rates, "version": genai.get_version()}))


if __name__ == "__main__":
    main()
