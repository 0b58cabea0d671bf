"""What kind of picture a prompt asks for, as far as backends differ by it. Pure.

Whole words are counted, each class by its own table; the most words win, and among equals the first in the table. It
is a coarse label for learning, not an understanding: what it gets wrong it gets wrong for every backend alike.
"""

import re
from collections.abc import Mapping
from enum import StrEnum


class PromptClass(StrEnum):
    """The classes; OTHER holds what no table speaks of."""

    PORTRAIT = "portrait"
    CITYSCAPE = "cityscape"
    ABSTRACT = "abstract"
    DIAGRAM = "diagram"
    ANIMAL = "animal"
    OBJECT = "object"
    LANDSCAPE = "landscape"
    OTHER = "other"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# More specific classes first: a diagram of a castle is a diagram, a portrait of a cat owner a portrait.
WORDS: Mapping[PromptClass, frozenset[str]] = {
    PromptClass.DIAGRAM: _words(
        "diagram diagrams chart charts schematic schematics blueprint blueprints flowchart infographic graph map maps "
        "cutaway labelled labeled annotated architecture technical wiring plan exploded"
    ),
    PromptClass.ABSTRACT: _words(
        "abstract geometric fractal fractals composition shapes pattern patterns gradient swirls kandinsky mondrian "
        "cubist cubism minimalist nonrepresentational texture"
    ),
    PromptClass.PORTRAIT: _words(
        "portrait portraits headshot selfie face faces man woman men women boy girl child children person people "
        "queen king astronaut soldier dancer elder bride smiling"
    ),
    PromptClass.CITYSCAPE: _words(
        "city cities cityscape skyline skyscraper skyscrapers street streets downtown metropolis urban town village "
        "building buildings tower towers bridge castle cathedral alley market"
    ),
    PromptClass.ANIMAL: _words(
        "animal animals cat cats kitten dog dogs puppy horse horses bird birds owl fox wolf bear lion tiger elephant "
        "fish whale dolphin butterfly rabbit deer dragon frog turtle penguin"
    ),
    PromptClass.LANDSCAPE: _words(
        "landscape landscapes mountain mountains hill hills forest woods valley lake river sea ocean beach coast desert "
        "meadow field fields waterfall canyon sky clouds island snow garden"
    ),
    PromptClass.OBJECT: _words(
        "object product still-life bottle cup mug vase chair table lamp car bicycle motorcycle boat ship watch camera "
        "guitar book bowl fruit apple bread cake shoe shoes robot icon logo"
    ),
}
STYLES: Mapping[str, PromptClass] = {
    "icon": PromptClass.OBJECT
}  # a style that says what is drawn, not only how

_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")


def classify(prompt: str, style: str = "") -> PromptClass:
    """Return the class of a prompt; a style speaks where its words do not."""
    words = _WORD.findall(prompt.lower())
    counts = {one: sum(word in table for word in words) for one, table in WORDS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else STYLES.get(style, PromptClass.OTHER)
