"""A byte-level BPE tokenizer out of a GGUF file's metadata, for the `tokenizers` library.

Marks such as `<|im_end|>` are left out of what texts are split at: whoever writes one into a prompt writes its letters.
`chat.json` says the marks' numbers.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from services.models.gguf import GgufError

BEGIN, END = "<|im_start|>", "<|im_end|>"


def write(metadata: Mapping[str, Any], destination: Path) -> None:
    """Write `tokenizer.json` and `chat.json` into a folder. Raises GgufError for another kind of tokenizer."""
    tokenizer, marks = read(metadata)
    tokenizer.save(str(destination / "tokenizer.json"))
    (destination / "chat.json").write_text(json.dumps(marks) + "\n", encoding="utf-8")


def read(metadata: Mapping[str, Any]) -> tuple[Tokenizer, dict[str, int]]:
    """Return the tokenizer, and the marks' numbers: `begin` and `end` of a message, `stop` of a text."""
    kind = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise GgufError(f"a tokenizer of kind {kind}; wanted byte-level BPE, ('gpt2', 'smollm')")
    vocabulary = {token: number for number, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    marks = {
        "begin": vocabulary[BEGIN],
        "end": vocabulary[END],
        "stop": metadata["tokenizer.ggml.unknown_token_id"],
    }
    return tokenizer, marks
