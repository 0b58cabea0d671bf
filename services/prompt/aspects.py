"""What a prompt leaves open, and which words speak against each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.prompt.styles import Level
from services.prompt.wording import Wording, phrases


@dataclass(frozen=True)
class Aspect:
    """A side of a picture that a prompt may speak of. `add` is said where it does not, from `level` on; empty is nothing."""

    name: str
    level: Level
    add: str
    words: tuple[Wording, ...]
    when: tuple[Wording, ...] = ()
    """Only a prompt with one of these can leave it open; empty is any."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Aspect":
        """Read one entry of aspects.yaml."""
        return cls(
            data["name"],
            Level[data["level"].upper()],
            data["add"],
            phrases(data["words"]),
            phrases(data.get("when", ())),
        )

    def is_open(self, prompt: Wording) -> bool:
        """Tell whether a prompt says nothing of it, and could."""
        return not prompt.has_any(self.words) and (not self.when or prompt.has_any(self.when))

    def said(self, prompt: Wording) -> tuple[str, ...]:
        """Return what a prompt says of it, in the prompt's order; of phrases in one another the longest."""
        return prompt.longest(phrase for phrase in self.words if phrase.content)


@dataclass(frozen=True)
class Opposites:
    """Pairs of word groups that speak against each other."""

    pairs: Sequence[tuple[tuple[Wording, ...], tuple[Wording, ...]]]

    @classmethod
    def parse(cls, data: Sequence[Sequence[Sequence[str]]]) -> "Opposites":
        """Read the pairs of opposites.yaml."""
        return cls([(phrases(one), phrases(other)) for one, other in data])

    def against(self, prompt: Wording) -> tuple[Wording, ...]:
        """Return every phrase that speaks against a prompt."""
        found: list[Wording] = []
        for left, right in self.pairs:
            if prompt.has_any(left):
                found += right
            if prompt.has_any(right):
                found += left
        return tuple(dict.fromkeys(found))
