"""Which styles a prompt is in: by the words that name them, or by likeness of meaning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.prompt.styles import StyleSet
from services.prompt.wording import Wording

Vectors = NDArray[np.float32]

MOST = 3  # styles told
# Likeness is the cosine between a prompt and a style's nearest exemplar. Of the names of 1,949 things, which are in no
# style, 15 were above UNLIKE, most of one word or two (`camera`, `artist palette`); so were all of 19
# descriptions of a style without its name. At LIKE it is as sure as can be.
UNLIKE = 0.5
LIKE = 0.8
LEAST_WORDS = 3  # content words below which a prompt can hardly say more than its subject
DOUBT = 0.2  # share of doubt that each word of a keyword leaves


@dataclass(frozen=True)
class Match:
    """A style and how well it fits, in (0, 1]."""

    style: str
    confidence: float


def by_keywords(prompt: Wording, unwanted: frozenset[str], styles: StyleSet) -> list[Match]:
    """Return the styles that a prompt names, best first, at most three; what it says it does not want is not named."""
    matches = []
    for style in styles.styles:
        named = {
            word
            for keyword in style.keywords
            if prompt.has(keyword) and not keyword.content & unwanted
            for word in keyword.words
        }
        if named:
            matches.append(Match(style.name, 1 - DOUBT ** len(named)))
    return _best(matches)


def can_be_compared(prompt: Wording) -> bool:
    """Tell whether a prompt says enough for its meaning to show a style."""
    return len(prompt.content) >= LEAST_WORDS


def by_likeness(likeness: Mapping[str, float]) -> list[Match]:
    """Return the styles that a prompt is like enough, best first, at most three; `likeness` is in [-1, 1] per style."""
    return _best(
        [
            Match(style, min(1.0, (cosine - UNLIKE) / (LIKE - UNLIKE)))
            for style, cosine in likeness.items()
            if cosine > UNLIKE
        ]
    )


def likeness(cosines: Vectors, owners: Sequence[str]) -> dict[str, float]:
    """Return each style's likeness to a prompt: that of its nearest exemplar.

    `cosines` is [N], of the prompt with N exemplars; `owners` names the style of each.
    """
    best: dict[str, float] = {}
    for owner, cosine in zip(owners, cosines.tolist(), strict=True):
        best[owner] = max(cosine, best.get(owner, -1.0))
    return best


def _best(matches: list[Match]) -> list[Match]:
    """Sort by confidence; equal ones keep the order of the set, so that equal prompts get equal answers."""
    return sorted(matches, key=lambda match: -match.confidence)[:MOST]
