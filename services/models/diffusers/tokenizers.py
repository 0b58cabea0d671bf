"""A pipeline's tokenizers as one file each, which the small `tokenizers` library reads where pictures are drawn."""

import json
from pathlib import Path
from typing import Any

from services.models.diffusers.directory import Directory

PIECES = "spiece.model"
PROMPTS = (
    "",
    " ",
    "a photograph of an astronaut riding a horse",
    "A CAT, 8k; ultra-detailed (masterpiece:1.2) -- by the sea's edge",
    "naïve café, Straße, Ångström, ﬁne",
    "日本の桜、富士山",
    "кошка на крыше",
    "🐱‍👤🚀 rocket cat 👩🏽‍🎨❤️",
    "tabs\tand\nnew lines   and   spaces",
    "<|endoftext|> in the middle </s> of <pad> it",
    "don't we're I'll 1234567890 #hash @at",
    "a long prompt that goes on " * 60,
)
"""What the two readers must agree on: empty, case, punctuation, scripts, emoji, special tokens, more than 77 tokens."""


class TokenizerError(Exception):
    """The file would cut prompts another way than the pipeline's own tokenizer."""


def convert(directory: Directory, tokenizer: str, tokens: int, destination: Path, prefix: str = "") -> None:
    """Write `destination/<prefix><tokenizer>.json`, which pads and cuts every prompt to `tokens` ids.

    Compared with the pipeline's own tokenizer on PROMPTS. Raises TokenizerError where they differ.
    """
    import transformers
    from tokenizers import Tokenizer

    _, kind = directory.components[tokenizer]
    own = _own(directory.path / tokenizer, getattr(transformers, kind))
    file = destination / f"{prefix}{tokenizer}.json"
    made = Tokenizer.from_str(own.backend_tokenizer.to_str())
    made.enable_truncation(tokens)
    made.enable_padding(length=tokens, pad_id=own.pad_token_id, pad_token=own.pad_token)
    made.save(str(file))
    read = Tokenizer.from_file(str(file))
    for prompt in PROMPTS:
        expected = own(prompt, padding="max_length", max_length=tokens, truncation=True).input_ids
        if read.encode(prompt).ids != list(expected):
            file.unlink()
            raise TokenizerError(
                f"{tokenizer}: reads {prompt!r} unlike {kind} (transformers {transformers.__version__})"
            )


def _own(folder: Path, kind: Any) -> Any:
    """The pipeline's own tokenizer. Raises TokenizerError where it cannot be read."""
    try:
        if (folder / PIECES).is_file() and not (folder / "tokenizer.json").is_file():
            return _from_pieces(folder, kind)
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises whatever its readers meet
        raise TokenizerError(f"{folder}: {kind.__name__} cannot read it: {error}") from error


def _from_pieces(folder: Path, kind: Any) -> Any:
    """T5's tokenizer from SentencePiece's model alone, as transformers makes it where `sentencepiece` is installed."""
    from transformers.utils import sentencepiece_model_pb2_new as sentencepiece

    model: Any = sentencepiece.ModelProto.FromString((folder / PIECES).read_bytes())
    config = folder / "tokenizer_config.json"
    told = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    extra = int(told.get("extra_ids", 100))
    vocabulary = [(piece.piece, piece.score) for piece in model.pieces]
    vocabulary += [(f"<extra_id_{index}>", 0.0) for index in reversed(range(extra))]
    charsmap = model.normalizer_spec.precompiled_charsmap or None
    return kind(vocab=vocabulary, extra_ids=extra, _spm_precompiled_charsmap=charsmap)
