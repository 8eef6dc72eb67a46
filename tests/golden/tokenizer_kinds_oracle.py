#!/usr/bin/env python3
"""Small tokenizers of every kind that text/ builds, trained on tokenizer_text.txt, and what Hugging
Face `tokenizers` makes of some texts (development only; needs tokenizers, transformers).

tokenizer_kinds_oracle.py  -> tokenizer_kinds.json
"""
import collections
import json
import pathlib
import random

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)
from transformers.convert_slow_tokenizer import generate_merges

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = (HERE / "tokenizer_text.txt").read_bytes().decode().split("\n=====\n")
BLANK = "\u2581"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
WRITTEN = [
    "", " ", "Hello world", "  two  blanks ", "don't DON'T 's\u017f '\u017fo",
    "a\n\n\nb \n \r\n c\t\td", "1 12 1234567 x99", "<|im_start|>user\nhi<|im_end|>",
    "<s>a</s> b", "e\u0301 \u1100\u1161\u11a8 \u212b", "日本語 中文",
    "\U0001f600\U0001f469\u200d", "a" + BLANK + BLANK + " b" + BLANK,
    " " * 11 + "x" + "\n" * 7, "<think>ok</think>", "<0x0A> <0x", "(word) !!x ??\n\n-",
    "zebrafish", "\u00a0\u3000y"]


def texts():
    rng = random.Random(5)
    words = [w for part in CORPUS for w in part.split(" ")]
    out = list(WRITTEN)
    for _ in range(12):
        text = ""
        for _ in range(rng.randrange(2, 9)):
            text += rng.choice([rng.choice(words)[:12], chr(rng.randrange(0x20, 0x3000)),
                                rng.choice(" \n'" + BLANK) * rng.randrange(1, 5)])
        out.append(text)
    return out


def byte_level(pre, normalizer, size, extra=(), **settings):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre, decoders.ByteLevel()
    if normalizer:
        made.normalizer = normalizer
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(made.to_str())["model"]
    for token in extra:
        model["vocab"][token] = len(model["vocab"])
    made.model = models.BPE(model["vocab"], [tuple(m) for m in model["merges"]], **settings)
    return made


def split(expression):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(expression), "isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def special(*tokens):
    return [AddedToken(t, special=True, normalized=False) for t in tokens]


def plain(*tokens):
    return [AddedToken(t, special=False, normalized=False) for t in tokens]


def bos_first(token, made):
    return processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B",
        special_tokens=[(token, made.token_to_id(token))])


def gpt2():
    made = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), None, 320)
    made.add_tokens(special("<|endoftext|>"))
    return made


def smollm():
    made = byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)]), None, 320)
    made.add_tokens(special("<|im_start|>", "<|im_end|>"))
    return made


def qwen2():
    made = byte_level(split(QWEN2), normalizers.NFC(), 340)
    made.add_tokens(special("<|im_start|>", "<|im_end|>") + plain("<think>", "</think>"))
    return made


def llama3():
    made = byte_level(split(LLAMA3), None, 340, extra=["zebrafish"], ignore_merges=True)
    made.add_tokens(special("<s>"))
    made.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), bos_first("<s>", made)])
    return made


def pieces(size):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    count = collections.Counter("".join(CORPUS).replace(" ", BLANK))
    letters = sorted(count, key=lambda c: (-count[c], c))[:90]  # the trainer's choice is random
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size, show_progress=False, limit_alphabet=90, initial_alphabet=letters))
    found = sorted(made.get_vocab().items(), key=lambda item: item[1])
    return [t for t, _ in found if len(t) > 1] + [t for t, _ in found if len(t) == 1]


def sentence_piece(control, user_defined, prefix):
    """Scores as SentencePiece has them: user-defined 0, then each below the one before."""
    fixed = control + user_defined + [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = fixed + [p for p in pieces(400) if p not in fixed]
    scores = [(t, min(0.0, float(len(fixed) - 1 - i))) for i, t in enumerate(tokens)]
    vocab = {t: i for i, t in enumerate(tokens)}
    skipped = [t for t in fixed if t not in user_defined]
    made = Tokenizer(models.BPE(vocab, generate_merges(vocab, scores, skip_tokens=skipped),
                                unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", BLANK)
    made.normalizer = (normalizers.Sequence([normalizers.Prepend(BLANK), replace]) if prefix
                       else replace)
    steps = [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    made.add_tokens(special(*control) + plain(*user_defined))
    return made


def gemma():
    runs = ["\n" * n for n in range(1, 5)] + [BLANK * n for n in range(2, 9)] + ["\t", "<table>"]
    made = sentence_piece(["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"], runs, False)
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.post_processor = bos_first("<s>", made)
    return made


def llama2():
    made = sentence_piece(["<unk>", "<s>", "</s>"], [], True)
    made.post_processor = bos_first("<s>", made)
    return made


def ids_of(made, text):
    rows = []
    for as_plain_text in (False, True):
        made.encode_special_tokens = as_plain_text
        rows.append(made.encode(text, add_special_tokens=False).ids)
    return rows if rows[0] != rows[1] else rows[:1]


def kind(made, known):
    written = json.loads(made.to_str())
    made.encode_special_tokens = False
    prompts = [made.encode(text).ids for text in known[:3]]
    decoded = [made.decode(made.encode(t, add_special_tokens=False).ids) for t in known]
    return {"tokenizer": written, "ids": [ids_of(made, t) for t in known], "prompts": prompts,
            "decoded": {str(i): d for i, (t, d) in enumerate(zip(known, decoded)) if t != d}}


def main():
    known = texts()
    kinds = {make.__name__: kind(make(), known)
             for make in (gpt2, smollm, qwen2, llama3, gemma, llama2)}
    old = kinds["llama2"]["tokenizer"]["model"]  # the older spelling of merges
    old["merges"] = [" ".join(m) for m in old["merges"]]
    out = {"texts": known, "kinds": kinds}
    text = json.dumps(out, separators=(",", ":"), ensure_ascii=False)
    (HERE / "tokenizer_kinds.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
