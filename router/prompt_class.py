"""What kind of picture a prompt asks for, as far as backends differ by it. Pure.

Whole words are counted, each class by its own table; the most words win, and among equals the class that is named first,
as the subject mostly is. It is a coarse label for learning, not an understanding: what it gets wrong it gets wrong for
every backend alike.
"""

import re
from collections import Counter
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


WORDS: Mapping[PromptClass, frozenset[str]] = {
    PromptClass.PORTRAIT: _words(
        "portrait portraits headshot selfie face faces man woman men women boy girl child children baby person people "
        "queen king princess knight warrior wizard witch pirate astronaut soldier dancer elder bride chef sailor samurai"
    ),
    PromptClass.CITYSCAPE: _words(
        "city cities cityscape skyline skyscraper skyscrapers street streets downtown metropolis urban town village house "
        "building buildings tower towers bridge castle cathedral temple alley market architecture"
    ),
    PromptClass.ABSTRACT: _words(
        "abstract geometric fractal fractals composition shapes pattern patterns gradient swirls kandinsky mondrian "
        "cubist cubism minimalist nonrepresentational texture"
    ),
    PromptClass.DIAGRAM: _words(
        "diagram diagrams chart charts schematic schematics blueprint blueprints flowchart infographic graph map maps "
        "cutaway labelled labeled annotated technical wiring exploded"
    ),
    PromptClass.ANIMAL: _words(
        "animal animals cat cats kitten dog dogs puppy horse horses bird birds owl fox wolf bear lion tiger elephant "
        "fish whale dolphin butterfly rabbit deer dragon frog turtle penguin pig cow sheep goat monkey panda mouse snake"
    ),
    PromptClass.OBJECT: _words(
        "object product bottle cup mug vase chair table lamp car bicycle motorcycle boat ship rocket train watch camera "
        "guitar book bowl plate fruit apple bread cake pizza burger noodles coffee tea shoe shoes hat crown key umbrella "
        "candle candles clock sword toy heart robot icon logo"
    ),
    PromptClass.LANDSCAPE: _words(
        "landscape landscapes mountain mountains hill hills forest woods tree trees valley lake river sea ocean beach "
        "coast desert meadow field fields waterfall canyon sky clouds island garden flower flowers rose roses cactus"
    ),
}
STYLES: Mapping[str, PromptClass] = {
    "icon": PromptClass.OBJECT
}  # a style that says what is drawn, not only how

_CLASSES = {word: one for one, words in WORDS.items() for word in words}
_WORD = re.compile(r"[a-z]+")


def classify(prompt: str, style: str = "") -> PromptClass:
    """Return the class of a prompt; a style speaks where its words do not."""
    counts: Counter[PromptClass] = Counter()  # in the order in which the classes are named, and so are equals
    for word in _WORD.findall(prompt.lower()):
        if found := _CLASSES.get(word):
            counts[found] += 1
    best = counts.most_common(1)
    return best[0][0] if best else STYLES.get(style, PromptClass.OTHER)
