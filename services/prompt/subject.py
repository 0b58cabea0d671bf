"""The words of a prompt that name what to draw."""

import re

from services.prompt.aspects import Aspect
from services.prompt.styles import StyleSet
from services.prompt.wording import Wording, clauses

_KIND = (
    r"(?:picture|image|photo|photograph|painting|drawing|sketch|illustration|render|rendering|portrait|icon|poster|"
    r"artwork|depiction|scene|shot|close[- ]up|view|wallpaper|logo|emoji|sticker|animation|video)s?"
)
# Lead-ins, taken off in turn: a polite request, the order to draw, the kind of picture.
_LEAD_INS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^(?:please|hi|hello|hey)\b[\s,]*",
        r"^(?:can|could|would) you (?:please )?|^i(?:'d| would)? (?:want|like|need)(?: you)?(?: to (?:see|have|get))?\s+",
        r"^(?:please )?(?:generate|create|make|draw|paint|render|design|imagine|show|give|produce|sketch)(?: me| us)?\s+",
        rf"^(?:(?:an?|the|some|one)\s+)?(?:[\w-]+\s+){{0,3}}?{_KIND}\s+(?:of|showing|depicting|with|featuring)\s+",
    )
]
_TAILS = re.compile(
    r"\s+(?:in|as|with)\s+(?:an?\s+|the\s+)?(?:style of\b.*|(?:[\w-]+\s+){1,3}style\b.*)$", re.IGNORECASE
)
# Words that speak of how a picture looks without being an aspect of their own.
_MANNER = frozenset(
    [
        "artistic",
        "award",
        "beautiful",
        "best",
        "cold",
        "dramatic",
        "dreamy",
        "hard",
        "harsh",
        "high",
        "highly",
        "low",
        "masterpiece",
        "natural",
        "professional",
        "quality",
        "resolution",
        "soft",
        "stunning",
        "ultra",
        "very",
        "warm",
        "winning",
    ]
)
_LEADING_PARTICLE = re.compile(r"^(?:of|for|in|as|with|and|style|showing)\s+", re.IGNORECASE)


def subject_of(prompt: str, styles: StyleSet, aspects: tuple[Aspect, ...]) -> str:
    """Return the first clause that says more than how to draw, without lead-ins and words of style.

    A prompt that says nothing but how to draw is its own subject.
    """
    told = clauses(prompt)
    how = _MANNER.union(*(phrase.words for aspect in aspects for phrase in aspect.words))
    for clause in told:
        # On one blank each: the patterns look for an end behind every blank of a run, which is slow for thousands.
        spaced = " ".join(clause.split())
        bare = _without_styles(_TAILS.sub("", _without_lead_ins(spaced)), styles)
        if Wording.of(bare).content - how:  # a word that is not merely about how the picture looks
            return bare
    return told[0] if told else prompt.strip()


def _without_lead_ins(clause: str) -> str:
    for lead_in in _LEAD_INS:
        clause = lead_in.sub("", clause).strip()
    return clause


def _without_styles(clause: str, styles: StyleSet) -> str:
    """Take out the words that name a style."""
    return _LEADING_PARTICLE.sub("", " ".join(styles.naming.sub(" ", clause).split()))
