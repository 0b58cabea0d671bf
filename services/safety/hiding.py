"""Texts hidden inside a text: encoded in base64, or written from right to left."""

import base64
import binascii
import re
from collections.abc import Iterator

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{8,}={0,2}")
_MOST_ENCODED = 16  # segments that are read; a prompt of 8,000 characters could hold 900
_LAYERS = 2  # base64 inside base64


def encoded(text: str, layers: int = _LAYERS) -> Iterator[str]:
    """Yield what base64 segments of a text say, in the standard and the URL alphabet, with or without padding."""
    for segment in _BASE64.findall(text)[:_MOST_ENCODED]:
        said = _decode(segment)
        if said is not None:
            yield said
            if layers > 1:
                yield from encoded(said, layers - 1)


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
