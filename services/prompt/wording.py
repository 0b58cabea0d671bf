"""The words of a text, ready to look phrases up in."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CLAUSE = re.compile(r"[,;.!?\n|]+")
_NEGATION = re.compile(r"\b(?:no|without|not|never|avoid)\b([^,;.!?\n|]*)", re.IGNORECASE)

# Words that carry no content of their own: two phrases that share only these have nothing in common.
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "from",
        "has",
        "have",
        "her",
        "his",
        "in",
        "into",
        "is",
        "it",
        "its",
        "more",
        "my",
        "no",
        "not",
        "of",
        "off",
        "on",
        "one",
        "or",
        "our",
        "over",
        "own",
        "so",
        "some",
        "than",
        "that",
        "the",
        "their",
        "them",
        "there",
        "these",
        "they",
        "this",
        "to",
        "under",
        "up",
        "very",
        "was",
        "we",
        "were",
        "what",
        "which",
        "while",
        "with",
        "without",
        "you",
        "your",
    ]
)


@dataclass(frozen=True)
class Wording:
    """A text as its words in lower case; hyphens and punctuation only separate."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Wording":
        """Read a text."""
        return cls(tuple(written(text.casefold())))

    @cached_property
    def content(self) -> frozenset[str]:
        """The words that carry content."""
        return frozenset(self.words) - STOP_WORDS

    @cached_property
    def line(self) -> str:
        """The words on one line with a space around each."""
        return f" {' '.join(self.words)} "

    def has(self, phrase: "Wording") -> bool:
        """Tell whether a phrase stands in the text, whole words only."""
        return bool(phrase.words) and phrase.line in self.line

    def has_any(self, phrases: Iterable["Wording"]) -> bool:
        """Tell whether one of the phrases stands in the text."""
        line = self.line
        return any(phrase.words and phrase.line in line for phrase in phrases)

    def longest(self, phrases: Iterable["Wording"]) -> tuple[str, ...]:
        """Return the phrases that stand in the text, in its order, each once; those inside another are left out."""
        line = self.line
        found = [phrase for phrase in phrases if phrase.words and phrase.line in line]
        whole = {
            phrase for phrase in found if not any(other != phrase and other.has(phrase) for other in found)
        }
        return tuple(
            " ".join(phrase.words) for phrase in sorted(whole, key=lambda phrase: line.index(phrase.line))
        )


def phrases(texts: Iterable[object]) -> tuple[Wording, ...]:
    """Read phrases from data; numbers that a data file did not quote are words too."""
    return tuple(Wording.of(str(text)) for text in texts)


def written(text: str) -> list[str]:
    """Return the words of a text as they are written, but for one kind of apostrophe."""
    return _WORD.findall(text.replace("\u2019", "'"))


def clauses(text: str) -> list[str]:
    """Split a text at its punctuation; empty parts are left out."""
    return [clause.strip() for clause in _CLAUSE.split(text) if clause.strip()]


def unwanted(text: str) -> frozenset[str]:
    """Return the content words that a text says not to have, such as `clouds` in `a sky without clouds`."""
    return frozenset().union(*(Wording.of(match[1]).content for match in _NEGATION.finditer(text)))
