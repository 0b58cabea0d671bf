"""Texts hidden inside a text: encoded in base64, or written from right to left."""

import base64
import binascii
import re
from collections.abc import Iterator

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{8,}={0,2}")
_LAYERS = 2  # base64 inside base64


def encoded(text: str) -> Iterator[str]:
    """Yield what the base64 segments of a text say, all in one text, then what those in that text say.

    The standard and the URL alphabet are read, with or without padding. One text for all of them, so that many harmless
    segments cannot hide one that is not, and words encoded one by one are read together.
    """
    for _ in range(_LAYERS):
        text = " ".join(said for segment in _BASE64.findall(text) if (said := _decode(segment)))
        if not text:
            return
        yield text


def reversed_readings(plain: str) -> Iterator[str]:
    """Yield a plain text read from right to left, and with each of its words read so."""
    yield plain[::-1]
    yield " ".join(word[::-1] for word in plain.split(" "))


def _decode(segment: str) -> str | None:
    """Return a segment's text, None when it encodes none."""
    bare = segment.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        said = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return said if all(character.isprintable() or character.isspace() for character in said) else None
