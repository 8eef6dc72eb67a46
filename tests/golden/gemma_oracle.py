#!/usr/bin/env python3
"""What Hugging Face `tokenizers` makes of tokenizer_text.txt with the vocabulary of Gemma 3
(development only; needs tokenizers, transformers, gguf).

gemma_oracle.py  -> gemma_ids.txt: a paragraph has two lines, control tokens parsed and then as
                    plain text, each with the number of ids and their FNV-1a digest

The vocabulary is that of ${COLLM_CACHE:-~/.cache/collm}/models/gemma3-270m.gguf, turned into
Hugging Face's form by the steps of its own converter. Without that file nothing is written.
"""
import os
import pathlib
import sys

import gguf
from tokenizers import AddedToken, Tokenizer, models, normalizers
from transformers.convert_slow_tokenizer import generate_merges

HERE = pathlib.Path(__file__).resolve().parent
PARAGRAPH_BREAK = "\n=====\n"
BLANK = "\u2581"
CONTROL, USER_DEFINED, BYTE = 3, 4, 6


def make_tokenizer(path):
    fields = gguf.GGUFReader(path).fields
    tokens, scores, types = (fields["tokenizer.ggml." + key].contents()
                             for key in ("tokens", "scores", "token_type"))
    # The GGUF writes blanks and -1000 for user-defined tokens; SentencePiece has U+2581 and 0.
    tokens = [t.replace(" ", BLANK) if kind == USER_DEFINED else t
              for t, kind in zip(tokens, types)]
    scores = [0.0 if kind == USER_DEFINED else s for s, kind in zip(scores, types)]
    vocab = {token: i for i, token in enumerate(tokens)}
    skipped = [t for t, kind in zip(tokens, types) if kind in (CONTROL, BYTE)]
    made = Tokenizer(models.BPE(
        vocab, generate_merges(vocab, list(zip(tokens, scores)), skip_tokens=skipped),
        unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", BLANK)
    made.add_tokens([AddedToken(t, normalized=False, special=kind == CONTROL)
                     for t, kind in zip(tokens, types) if kind in (CONTROL, USER_DEFINED)])
    assert made.get_vocab_size() == len(tokens)
    return made


def digest(ids):
    state = 0xCBF29CE484222325
    for token in ids:
        state = (state ^ token) * 0x100000001B3 % (1 << 64)
    return f"{len(ids)} {state:016x}\n"


def main():
    cache = os.environ.get("COLLM_CACHE") or os.path.expanduser("~/.cache/collm")
    path = pathlib.Path(cache, "models", "gemma3-270m.gguf")
    if not path.exists():
        sys.exit(print(f"left out: there is no {path}"))
    made, lines = make_tokenizer(path), []
    for part in (HERE / "tokenizer_text.txt").read_bytes().decode().split(PARAGRAPH_BREAK):
        for as_plain_text in (False, True):
            made.encode_special_tokens = as_plain_text
            lines.append(digest(made.encode(part, add_special_tokens=False).ids))
    (HERE / "gemma_ids.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
