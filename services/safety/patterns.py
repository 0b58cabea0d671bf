"""Patterns as rules write them, and many of them searched at once.

RE2 reads a text once, whatever patterns it looks for, and never goes back: no text, however hostile, takes longer than its
length allows. It knows no look-ahead, so patterns have none; what must not follow is an exception.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import re2

GAP = r"(?:[\s\-_]+)"
# Letters of their own are searched by `re`, which goes back: a gap that is given up nowhere, and words of so many letters,
# keep the time that a text takes to its length. One of the readings has taken the gaps out.
ANY_GAP = r"(?:[\s\-_]*+)"
MOST_OF_A_WORD = 40
_FEW_WORDS = r"(?:[^a-z0-9']+[a-z0-9']+){0,5}?[^a-z0-9']+"
_LIST = re.compile(r"<([a-z_]+)>")
_BEFORE, _BEHIND = r"(?:^|[^a-z0-9])", r"(?:$|[^a-z0-9])"  # of a whole word
_ANYTHING = ""  # found in every text: its absence tells that a search was given up
# Patterns searched in one pass. What RE2 builds on its way grows with the combinations that are under way in a text: with
# the rules of version 3, 8,000 letters take 0.27 s in one pass for all, 0.06 s in 14 passes, and 0.09 s in 26.
TOGETHER = 20
MEMORY = 8 << 20  # bytes for what one pass remembers; it forgets and begins anew where that is full


def expanded(pattern: str, vocabulary: Mapping[str, str], gap: str = GAP) -> str:
    """Return a pattern as a regular expression; raises KeyError for a word list that the vocabulary does not hold."""
    lists = _LIST.sub(lambda match: f"(?:{expanded(vocabulary[match[1]], vocabulary, gap)})", pattern)
    return lists.replace(" ... ", _FEW_WORDS).replace(" ", gap)


def expanded_natively(pattern: str, vocabulary: Mapping[str, str]) -> str:
    """Return a pattern for a text in letters of its own; raises KeyError as `expanded`."""
    either = expanded(pattern, vocabulary, ANY_GAP)
    for written, least in ((r"\w+", 1), (r"\w*", 0)):
        either = either.replace(written, rf"\w{{{least},{MOST_OF_A_WORD}}}")
    return either


class Patterns:
    """Patterns of whole words, in regular expressions that RE2 reads. Safe to share between threads."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compile the patterns; raises ValueError naming the first that RE2 does not read."""
        self._passes = [
            _compiled(patterns[start : start + TOGETHER]) for start in range(0, len(patterns), TOGETHER)
        ]

    def found(self, text: str) -> frozenset[int]:
        """Return which patterns are found in a text, by their places; raises RuntimeError where RE2 gave up."""
        return frozenset().union(*(self._pass(turn, text) for turn in range(len(self._passes))))

    def holds(self, text: str, needed: frozenset[int]) -> bool:
        """Tell whether all of some patterns are found in a text; raises as `found`."""
        turns = {place // TOGETHER for place in needed}
        return needed <= frozenset().union(*(self._pass(turn, text) for turn in turns))

    def _pass(self, turn: int, text: str) -> frozenset[int]:
        matched = self._passes[turn].Match(text)
        if 0 not in matched:
            raise RuntimeError("a text could not be searched: RE2 has too little memory")
        return frozenset(turn * TOGETHER + place - 1 for place in matched if place)


def _compiled(patterns: Sequence[str]) -> Any:
    options = re2.Options()
    options.max_mem, options.log_errors = MEMORY, False
    compiled = re2.Set.SearchSet(options)
    for pattern in (_ANYTHING, *(f"{_BEFORE}(?:{each}){_BEHIND}" for each in patterns)):
        try:
            compiled.Add(pattern)
        except re2.error as error:
            raise ValueError(f"RE2 does not read {pattern}: {error}") from error
    compiled.Compile()
    return compiled
