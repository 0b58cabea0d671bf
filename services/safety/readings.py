"""What a text may be read as: each reading made once, when it is first asked for, and searched once."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from services.safety import hiding
from services.safety.normalisation import Disguises
from services.safety.patterns import Patterns

MOST_LETTERS = 1_000_000  # of all spellings: 8,000 letters with digits among them have 200,000 each time they are spelled


class Readings:
    """The readings of one text, and which of the patterns are found in them."""

    def __init__(self, text: str, disguises: Disguises, patterns: Patterns) -> None:
        self._text = text
        self._disguises = disguises
        self._patterns = patterns
        self._excused: dict[str, Sequence[str]] = {}
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
    def as_written(self) -> frozenset[int]:
        """What is found in the plain text."""
        return self._patterns.found(self.plain)

    @cached_property
    def mirrored(self) -> Mapping[str, frozenset[int]]:
        """The text from right to left, each reading with what is found in it."""
        return {reading: self._patterns.found(reading) for reading in hiding.reversed_readings(self.plain)}

    @cached_property
    def disguised(self) -> Sequence[frozenset[int]]:
        """What is found in each of the disguised spellings."""
        return [self._patterns.found(spelling) for spelling in self._spelled(self.plain)]

    @cached_property
    def anywhere(self) -> frozenset[int]:
        """What is found in any reading in Latin letters."""
        return self.as_written.union(*self.disguised, *self.mirrored.values())

    def holds(self, reading: str, needed: frozenset[int]) -> bool:
        """Tell whether all of some patterns are found in a reading."""
        return self._patterns.holds(reading, needed)

    def holds_disguised(self, kept: str, needed: frozenset[int]) -> bool:
        """Tell whether all of some patterns are found in a disguised spelling of the text.

        `kept` is the plain text, without phrases that are harmless. A long text that is disguised in many ways is spelled
        anew a few times only, or not at all; after that nothing is excused, and the answer is that for the whole text.
        """
        if not any(needed <= found for found in self.disguised):
            return False
        if kept not in self._excused and kept != self.plain and self._letters < MOST_LETTERS:
            self._excused[kept] = self._spelled(kept)
        spellings = self._excused.get(kept)
        return spellings is None or any(self.holds(spelling, needed) for spelling in spellings)

    def _spelled(self, plain: str) -> Sequence[str]:
        spellings = self._disguises.spellings(plain)
        self._letters += sum(map(len, spellings))
        return spellings
