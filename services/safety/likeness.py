"""What a prompt resembles: unsafe exemplars, and by how much more than harmless ones.

u is the mean cosine with the nearest unsafe exemplars, h that with the nearest harmless ones. A prompt resembles what is
unsafe when u reaches `likeness` and u - h a margin; several neighbours instead of one keep a single odd exemplar from
deciding. The category is the one that most of u comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.safety.category import WORST, Category, Signal

Vectors = NDArray[np.float32]

WINDOW_WORDS = (
    40  # a longer text is compared piece by piece, as what stands in its midst would be averaged away
)
MOST_LETTERS = (
    250  # in a window: none is more than one token, and the model leaves out what follows its 256th
)


@dataclass(frozen=True)
class Exemplars:
    """Texts and what each shows, None where it is harmless; `margins` are pairs of margin and severity, rising."""

    version: str
    texts: Sequence[str]
    shows: Sequence[Category | None]
    nearest_unsafe: int
    nearest_harmless: int
    likeness: float
    margins: Sequence[tuple[float, int]]

    @property
    def checker(self) -> str:
        """Name and version, as findings carry it."""
        return f"exemplars/{self.version}"

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Exemplars":
        """Read exemplars.yaml; raises ValueError naming what is wrong."""
        pairs: list[tuple[str, Category | None]] = [
            (text, Category(name)) for name, texts in data["unsafe"].items() for text in texts
        ]
        pairs += [(text, None) for text in data["harmless"]]
        margins = [(float(step["margin"]), int(step["severity"])) for step in data["margins"]]
        if not margins or margins != sorted(margins) or not all(1 <= worst <= WORST for _, worst in margins):
            raise ValueError(f"margins: must rise, with severities from 1 to {WORST}")
        unsafe = sum(shown is not None for _, shown in pairs)
        few, many = data["nearest_unsafe"], data["nearest_harmless"]
        if not 1 <= few <= unsafe or not 1 <= many <= len(pairs) - unsafe:
            raise ValueError(
                "nearest_unsafe, nearest_harmless: must be from 1 to how many exemplars there are"
            )
        texts, shows = zip(*pairs, strict=True)
        return cls(str(data["version"]), texts, shows, few, many, float(data["likeness"]), margins)

    def signals(self, prompt: Vectors, exemplars: Vectors) -> list[Signal]:
        """Return what pieces of a prompt resemble: the worst piece's signal, or none.

        `prompt` is FP32 [P,D], `exemplars` FP32 [N,D] in the order of `texts`, all of length 1.
        """
        found = [signal for cosines in prompt @ exemplars.T if (signal := self._signal(cosines))]
        return sorted(found, key=lambda signal: -signal.severity)[:1]

    def _signal(self, cosines: Vectors) -> Signal | None:
        unsafe = [(float(near), shown) for near, shown in zip(cosines, self.shows, strict=True) if shown]
        nearest = sorted(unsafe, reverse=True)[: self.nearest_unsafe]
        harmless = sorted(float(near) for near, shown in zip(cosines, self.shows, strict=True) if not shown)
        likeness = sum(near for near, _ in nearest) / self.nearest_unsafe
        margin = likeness - sum(harmless[-self.nearest_harmless :]) / self.nearest_harmless
        severity = max((worst for least, worst in self.margins if margin >= least), default=0)
        if likeness < self.likeness or severity == 0:
            return None
        shares = {
            category: sum(near for near, shown in nearest if shown is category) for _, category in nearest
        }
        category = max(shares, key=lambda shown: shares[shown])
        evidence = f"likeness {likeness:.2f}, margin {margin:.2f}"
        return Signal(category, severity, self.checker, evidence)


def pieces(plain: str) -> list[str]:
    """Return a text in windows of words, each beginning in the middle of the one before, that the model reads whole."""
    words = [
        word[at : at + MOST_LETTERS] for word in plain.split() for at in range(0, len(word), MOST_LETTERS)
    ]
    windows, start, end = [], 0, -1
    while end < len(words):
        end = _end(words, start)
        windows.append(" ".join(words[start:end]))
        start += max(1, (end - start) // 2)
    return windows


def _end(words: Sequence[str], start: int) -> int:
    letters = 0
    for end, word in enumerate(words[start : start + WINDOW_WORDS], start):
        letters += len(word)
        if letters > MOST_LETTERS:
            return end
    return min(start + WINDOW_WORDS, len(words))
