"""What a text may be read as: each reading made once, when it is first asked for, and searched once."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from services.safety import hiding
from services.safety.normalisation import Disguises
from services.safety.patterns import Patterns

MOST_LETTERS = 400_000  # of spellings without exceptions: 20 of them for a text of 8,000 letters


class Readings:
    """The readings of one text, and which of the patterns are found in them."""

    def __init__(self, text: str, disguises: Disguises, patterns: Patterns) -> None:
        self._text = text
        self._disguises = disguises
        self._patterns = patterns
        self._known: dict[str, frozenset[int]] = {}
        self._excused: dict[str, Sequence[frozenset[int]]] = {}
        self._letters = 0

    @cached_property
    def plain(self) -> str:
        """The text in Latin letters."""
        return self._disguises.plain(self._text)

    @cached_property
    def native(self) -> Sequence[str]:
        """The text in its own letters; empty when all of it is Latin."""
        return self._disguises.native(self._text)

    @cached_property
    def mirrored(self) -> Mapping[str, frozenset[int]]:
        """The text from right to left, each reading with what is found in it."""
        return {reading: self.found(reading) for reading in hiding.reversed_readings(self.plain)}

    @cached_property
    def disguised(self) -> Sequence[frozenset[int]]:
        """What is found in each of the disguised spellings."""
        return [self.found(spelling) for spelling in self._disguises.spellings(self.plain)]

    @cached_property
    def anywhere(self) -> frozenset[int]:
        """What is found in any reading in Latin letters."""
        return self.found(self.plain).union(*self.disguised, *self.mirrored.values())

    def excused(self, kept: str) -> Sequence[frozenset[int]]:
        """Return what is found in each disguised spelling of the plain text without harmless phrases, `kept`.

        Of a long text that is disguised in many ways only the first few are made, and for the others nothing is excused:
        the answer is that for the whole text.
        """
        if kept not in self._excused and self._letters < MOST_LETTERS:
            spellings = self._disguises.spellings(kept)
            self._letters += sum(map(len, spellings))
            self._excused[kept] = [self.found(spelling) for spelling in spellings]
        return self._excused.get(kept, self.disguised)

    def found(self, reading: str) -> frozenset[int]:
        """Return which patterns are found in a reading."""
        if reading not in self._known:
            self._known[reading] = self._patterns.found(reading)
        return self._known[reading]
