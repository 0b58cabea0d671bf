"""What a prompt leaves to chance: words of several meanings, words that name nothing, wishes that exclude each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from services.prompt.wording import Wording, phrases


class Kind(IntEnum):
    """Why a prompt is ambiguous; the numbers are the contract's."""

    MEANINGS = 1
    VAGUE = 2
    CONTRADICTION = 3


@dataclass(frozen=True)
class Ambiguity:
    """A phrase of the prompt; `readings` are its meanings, or what it contradicts."""

    kind: Kind
    phrase: str
    readings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Meanings:
    """A word that names several things, and the words that settle which."""

    words: tuple[Wording, ...]
    readings: tuple[str, ...]
    settled_by: frozenset[str]
    worded: tuple[Wording, ...]
    """The readings, to look for: one that stands behind the prompt, as a suggestion puts it, settles it as well."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Meanings":
        """Read one entry of `meanings` in ambiguities.yaml."""
        readings: Mapping[str, Sequence[object]] = data["readings"]
        settled_by = frozenset(str(word) for words in readings.values() for word in words)
        return cls(phrases(data["words"]), tuple(readings), settled_by, phrases(readings))

    def find(self, prompt: Wording) -> tuple[str, ...]:
        """Return the forms of the word that stand in a prompt which does not settle what they mean."""
        found = prompt.longest(self.words)
        if not found or self.settled_by & prompt.content or prompt.has_any(self.worded):
            return ()
        return found


@dataclass(frozen=True)
class Ambiguities:
    """All that ambiguities.yaml knows."""

    meanings: tuple[Meanings, ...]
    vague: tuple[Wording, ...]
    contradictions: tuple[tuple[tuple[Wording, ...], tuple[Wording, ...]], ...]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Ambiguities":
        """Read ambiguities.yaml."""
        return cls(
            tuple(map(Meanings.parse, data["meanings"])),
            phrases(data["vague"]),
            tuple((phrases(one), phrases(other)) for one, other in data["contradictions"]),
        )

    def of(self, prompt: Wording) -> tuple[Ambiguity, ...]:
        """Return a prompt's ambiguities: meanings, then vague words, then contradictions."""
        found = [
            Ambiguity(Kind.MEANINGS, word, entry.readings)
            for entry in self.meanings
            for word in entry.find(prompt)
        ]
        found += [Ambiguity(Kind.VAGUE, word) for word in prompt.longest(self.vague)]
        for one, other in self.contradictions:
            left, right = prompt.longest(one), prompt.longest(other)
            if left and right:
                found += [Ambiguity(Kind.CONTRADICTION, phrase, right) for phrase in left]
        return tuple(found)
