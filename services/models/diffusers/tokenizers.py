"""A pipeline's tokenizers as one file each, which the small `tokenizers` library reads where pictures are drawn."""

from pathlib import Path
from typing import Any

from services.models.diffusers.directory import Directory

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
    own: Any = getattr(transformers, kind).from_pretrained(directory.path / tokenizer, local_files_only=True)
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
