"""A text as its data reads, whatever characters it is written in, with the way back to where each of them stood."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_DASHES = dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
_HIDDEN = frozenset({"Cf", "Cc"})  # zero-width characters and controls
_BREAKS = frozenset("\t\n\r")


@dataclass(frozen=True)
class Reading:
    """A folded text. `places` holds for each of its characters where it stood in the original; None when it is equal."""

    plain: str
    places: Sequence[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return where characters `start` up to `end`, at least one, stood in the original."""
        if self.places is None:
            return start, end
        return self.places[start], self.places[end - 1] + 1


def read(text: str) -> Reading:
    """Fold full-width and other digits, letters and signs to plain ones, every dash to `-`, and drop what is not drawn."""
    if text.isascii() and text.isprintable():
        return Reading(text)
    folded = [(_fold(character), place) for place, character in enumerate(text) if not _is_hidden(character)]
    return Reading("".join(character for character, _ in folded), [place for _, place in folded])


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
