"""A text as its data reads, whatever characters it is written in, with the way back to where each of them stood."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_DASHES = dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
_HIDDEN = frozenset({"Cf", "Cc"})  # zero-width characters and controls
_MARKS = frozenset({"Mn", "Me"})  # accents that stand after their letter, as some systems write every one
_BREAKS = frozenset("\t\n\r")


@dataclass(frozen=True)
class Reading:
    """A folded text. `places` holds for each of its characters from where to where it stood in the original.

    It is None where the two are equal.
    """

    plain: str
    places: Sequence[tuple[int, int]] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return where characters `start` up to `end`, at least one, stood in the original."""
        if self.places is None:
            return start, end
        return self.places[start][0], self.places[end - 1][1]


def read(text: str) -> Reading:
    """Fold full-width and other digits, letters and signs to plain ones, every dash to `-`, and drop what is not drawn.

    A letter and the accents behind it become one letter.
    """
    if text.isascii() and text.isprintable():
        return Reading(text)
    folded: list[str] = []
    places: list[tuple[int, int]] = []
    for place, character in enumerate(text):
        if _is_hidden(character):
            continue
        if folded and unicodedata.category(character) in _MARKS:
            folded[-1] = unicodedata.normalize("NFC", folded[-1] + character)[0]
            places[-1] = places[-1][0], place + 1
        else:
            folded.append(_fold(character))
            places.append((place, place + 1))
    return Reading("".join(folded), places)


def _is_hidden(character: str) -> bool:
    return character not in _BREAKS and unicodedata.category(character) in _HIDDEN


def _fold(character: str) -> str:
    """Return the one character that this one reads as; who would become several stays as it is."""
    if (dash := _DASHES.get(character)) is not None:
        return dash
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character
