"""Pseudonyms: what stands in a text instead of personal data, and the way back."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.safety.privacy.found import Found, Kind

PSEUDONYM = re.compile(rf"<(?:{'|'.join(Kind)})_[1-9][0-9]{{0,5}}>")


@dataclass(frozen=True)
class Redacted:
    """A text without personal data. `originals` maps each pseudonym to what it stands for."""

    text: str
    kinds: Sequence[Kind]
    originals: Mapping[str, str]


def redact(text: str, found: Sequence[Found]) -> Redacted:
    """Replace finds, which share no character and come in the order of the text, by pseudonyms such as `<EMAIL_1>`.

    The same words of the same kind have the same pseudonym. One that the text holds already is not given out, so that
    `restore` brings back the very text.
    """
    taken = set(PSEUDONYM.findall(text))
    numbers: Counter[Kind] = Counter()
    given: dict[tuple[Kind, str], str] = {}
    parts: list[str] = []
    end = 0
    for one in found:
        key = one.kind, text[one.start : one.end]
        if key not in given:
            given[key] = _next(one.kind, numbers, taken)
        parts += (text[end : one.start], given[key])
        end = one.end
    kinds = list(dict.fromkeys(one.kind for one in found))
    originals = {pseudonym: words for (_, words), pseudonym in given.items()}
    return Redacted("".join((*parts, text[end:])), kinds, originals)


def restore(text: str, originals: Mapping[str, str]) -> str:
    """Put the originals back; pseudonyms that are not among them stay."""
    return PSEUDONYM.sub(lambda match: originals.get(match[0], match[0]), text)


def _next(kind: Kind, numbers: Counter[Kind], taken: set[str]) -> str:
    while True:
        numbers[kind] += 1
        pseudonym = f"<{kind}_{numbers[kind]}>"
        if pseudonym not in taken:
            return pseudonym
