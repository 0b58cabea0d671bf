"""What each icon is called in training: labels, synonyms, tags, templates, style words, colours. Pure and deterministic."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from models.house.data import Icon
from models.house.held_out import HELD_OUT
from models.house.synonyms import other_names

TEMPLATES = (
    "a picture of {}", "a drawing of {}", "an icon of {}", "an emoji of {}", "an illustration of {}", "a photo of {}",
    "a 3d render of {}", "an image of {}", "a cartoon of {}", "a close-up of {}", "{} on a white background",
    "a 3d icon of {}", "a cute emoji of {}", "a simple picture of {}", "a realistic photo of {}", "{} emoji", "{} icon, 3d render",
)  # fmt: skip
ADJECTIVES = (
    "cute",
    "little",
    "big",
    "beautiful",
    "shiny",
    "tiny",
    "simple",
    "lovely",
    "nice",
    "small",
    "colorful",
    "glossy",
    "single",
    "funny",
)
STYLES = (
    "3d render", "soft lighting", "highly detailed", "digital art", "cartoon style", "vibrant colors", "white background",
    "glossy", "studio lighting", "minimalist icon", "high quality", "isometric", "cute", "sharp focus", "4k", "photorealistic",
    "cinematic lighting", "clean composition", "detailed", "professional photography", "bright colors", "soft shadows",
    "masterpiece", "smooth", "fantasy art", "watercolor", "pixel art", "dramatic lighting", "minimalist", "natural light",
)  # fmt: skip
UNCOUNTED = """
    fries chips grapes cherries blueberries peanuts beans bread bacon butter salt popcorn spaghetti rice money
    glasses sunglasses jeans socks gloves shorts briefs pants trousers scissors headphones fireworks sparkles bubbles
    dna water rain snow fire smoke ice milk coffee tea beer wine soap music yarn confetti cash eyes lungs hands maracas
"""
MASS_OR_PLURAL = frozenset(UNCOUNTED.split())
COLOURS = "red orange yellow green blue purple pink brown black white grey gold golden silver light"
COLOUR_WORDS = frozenset(COLOURS.split())
PAINT_TEMPLATES = (
    "{}",
    "a picture of {}",
    "{}, 3d render",
    "{}, soft lighting",
    "{} emoji",
    "a drawing of {}",
)


def with_article(name: str) -> str:
    """'cat' -> 'a cat', 'owl' -> 'an owl'; mass nouns, plurals and names that start with a capital or article stay."""
    first, last = name.split()[0], name.split()[-1]
    plural = last.endswith("s") and not last.endswith(("ss", "us", "is"))
    counted = name[0].isupper() or first in {"a", "an", "the", "two", "three"}
    if counted or plural or last in MASS_OR_PLURAL:
        return name
    return (
        "an " if name[0].lower() in "aeiou" and not name.startswith(("uni", "euro", "ewe", "one")) else "a "
    ) + name


def plural(name: str) -> str:
    """A plain English plural of a one- or two-word name."""
    if name.endswith(("x", "ch", "sh", "ss")):
        return name + "es"
    return name[:-1] + "ies" if re.search("[^aeiou]y$", name) else name + "s"


def said(caption: str) -> str:
    """What a caption says once case, punctuation and articles are set aside: the key of the held-out check."""
    words = re.sub(r"[^a-z0-9' ]", " ", caption.lower().replace("’", "'")).split()
    return " ".join(word for word in words if word not in {"a", "an", "the"})


FORBIDDEN = frozenset(said(target.prompt) for target in HELD_OUT)


def allowed(captions: Iterable[str]) -> list[str]:
    """The captions in order, without repeats and without any that says the same as a held-out prompt."""
    return [caption for caption in dict.fromkeys(captions) if said(caption) not in FORBIDDEN]


def sole_tags(icons: Sequence[Icon], most: int = 3) -> dict[str, list[str]]:
    """Return hexcode -> its tags that name few icons and are no other icon's label: these may stand alone."""
    counts = Counter(tag for icon in icons for tag in set(icon.tags))
    labels = {icon.label.lower() for icon in icons}
    return {
        icon.hexcode: [
            tag for tag in icon.tags if counts[tag] <= most and tag.lower() not in labels and len(tag) > 2
        ]
        for icon in icons
    }


def names_of(icon: Icon) -> list[str]:
    """What the icon is called without an article: its label, the parts of a label with a colon, everyday names."""
    label = icon.label.replace("’", "'")
    names = [label]
    if ":" in label:
        head, tail = (part.strip() for part in label.split(":", 1))
        names = [f"{head} with {tail}" if "bald" not in tail else f"bald {head}", label]
    if label.endswith(" face") and icon.group == 3:
        names.append(label.removesuffix(" face"))
    return [*names, *other_names(icon.label)]


def captions(icon: Icon, tags: Sequence[str], colour: str = "") -> list[tuple[str, float]]:
    """(caption, weight) pairs of one icon; `tags` are those that may stand alone, `colour` its own colour if any."""
    rng = random.Random(icon.hexcode)  # noqa: S311 - captions must be the same every time
    names = names_of(icon)
    found: dict[str, float] = {}

    def add(weight: float, *texts: str) -> None:
        for text in allowed(texts):
            found[text] = max(found.get(text, 0.0), weight)

    add(3.0, icon.label, with_article(names[0]))
    for name in names:
        add(1.5, name, with_article(name))
        for template in rng.sample(TEMPLATES, 3):
            add(0.5, template.format(with_article(name)))
        for adjective in rng.sample(ADJECTIVES, 2):
            add(0.4, with_article(f"{adjective} {name}"))
        for _ in range(2):
            add(0.7, ", ".join([with_article(name), *rng.sample(STYLES, rng.randint(1, 3))]))
        add(0.2, "the " + name)
    if len(names[0].split()) < 3 and names[0].islower() and with_article(names[0]) != names[0]:
        add(0.2, plural(names[0]))
    for tag in tags[:6]:
        add(0.4, tag, with_article(tag))
    add(
        0.5,
        f"{icon.label}, " + ", ".join(icon.tags[:3]),
        f"{names[0]}, " + ", ".join(rng.sample(icon.tags, min(3, len(icon.tags)))),
    )
    if colour and not COLOUR_WORDS & set(icon.label.split()):
        for name in names[:3]:
            add(1.0, with_article(f"{colour} {name}"))
    return list(found.items())


def painted_captions(icon: Icon, colour: str) -> list[str]:
    """Captions of the icon painted in `colour`: up to three, chosen by code point and colour."""
    rng = random.Random(icon.hexcode + colour)  # noqa: S311
    nouns = [" ".join(word for word in name.split() if word not in COLOUR_WORDS) for name in names_of(icon)]
    nouns = [noun for noun in dict.fromkeys(nouns) if noun][:4]
    texts = [with_article(f"{colour} {nouns[0]}"), f"{colour} {rng.choice(nouns)}"]
    texts.append(rng.choice(PAINT_TEMPLATES).format(with_article(f"{colour} {rng.choice(nouns)}")))
    return allowed(texts)


def background_captions(icon: Icon, colour: str) -> list[str]:
    """Captions of the icon on a coloured background."""
    name = with_article(names_of(icon)[0])
    return allowed([f"{name} on a {colour} background", f"{name}, {colour} background"])
