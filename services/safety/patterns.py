"""Patterns as rules write them, and many of them searched at once.

RE2 reads a text once, whatever patterns it looks for, and never goes back: no text, however hostile, takes longer than its
length allows. It knows no look-ahead, so patterns have none; what must not follow is an exception.
"""

import re
from collections.abc import Mapping, Sequence

import re2

GAP = r"(?:[\s\-_]+)"
ANY_GAP = r"(?:[\s\-_]*)"  # of letters of their own, whose gaps one of the readings has taken out
_FEW_WORDS = r"(?:[^a-z0-9']+[a-z0-9']+){0,5}?[^a-z0-9']+"
_LIST = re.compile(r"<([a-z_]+)>")
_BEFORE, _BEHIND = r"(?:^|[^a-z0-9])", r"(?:$|[^a-z0-9])"  # of a whole word
_ANYTHING = ""  # found in every text: its absence tells that a search was given up
MEMORY = 64 << 20  # bytes for what RE2 remembers of its way; 48 hostile spellings take it 40 MB


def expanded(pattern: str, vocabulary: Mapping[str, str], gap: str = GAP) -> str:
    """Return a pattern as a regular expression; raises KeyError for a word list that the vocabulary does not hold."""
    lists = _LIST.sub(lambda match: f"(?:{expanded(vocabulary[match[1]], vocabulary, gap)})", pattern)
    return lists.replace(" ... ", _FEW_WORDS).replace(" ", gap)


class Patterns:
    """Patterns of whole words, in regular expressions that RE2 reads. Safe to share between threads."""

    def __init__(self, patterns: Sequence[str], memory: int = MEMORY) -> None:
        """Compile the patterns; raises ValueError naming the first that RE2 does not read."""
        options = re2.Options()
        options.max_mem, options.log_errors = memory, False
        self._set = re2.Set.SearchSet(options)
        for pattern in (_ANYTHING, *(f"{_BEFORE}(?:{each}){_BEHIND}" for each in patterns)):
            try:
                self._set.Add(pattern)
            except re2.error as error:
                raise ValueError(f"RE2 does not read {pattern}: {error}") from error
        self._set.Compile()

    def found(self, text: str) -> frozenset[int]:
        """Return which patterns are found in a text, by their places; raises RuntimeError where RE2 gave up."""
        places = self._set.Match(text)
        if 0 not in places:
            raise RuntimeError("a text could not be searched: RE2 has too little memory")
        return frozenset(place - 1 for place in places if place)
