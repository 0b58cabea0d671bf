"""Phrases that say the same as well as others, and which of them a seed chooses."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Alternatives:
    """By phrase, the others that may stand for it."""

    others: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, data: Mapping[str, Sequence[str]]) -> "Alternatives":
        """Read alternatives.yaml; raises ValueError for a phrase that is among its own alternatives."""
        for phrase, others in data.items():
            if len({phrase, *others}) != 1 + len(others):
                raise ValueError(f"alternatives of {phrase}: one is there twice")
        return cls({phrase: tuple(others) for phrase, others in data.items()})

    def of(self, phrase: str, seed: int | None) -> tuple[str, ...]:
        """Return what may be said for a phrase, the seed's choice first; without a seed the phrase alone.

        A seed chooses for each phrase apart, so that two phrases do not always change together.
        """
        others = self.others.get(phrase)
        if seed is None or others is None:
            return (phrase,)
        options = (phrase, *others)
        digest = hashlib.sha256(f"{seed}\0{phrase}".encode()).digest()
        turn = int.from_bytes(digest[:4]) % len(options)
        return options[turn:] + options[:turn]
