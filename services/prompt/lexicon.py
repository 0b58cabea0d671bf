"""Everything that the prompt room knows, as it is shipped beside this module."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from services.prompt.aspects import Aspect, Opposites
from services.prompt.styles import Style, StyleSet


@dataclass(frozen=True)
class Lexicon:
    """The styles, the aspects of a picture, and the words that speak against each other."""

    styles: StyleSet
    aspects: tuple[Aspect, ...]
    opposites: Opposites


def load() -> Lexicon:
    """Read the data files; raises ValueError naming the entry that is wrong."""
    return Lexicon(
        StyleSet(tuple(Style.parse(entry) for entry in _read("styles.yaml")["styles"])),
        tuple(Aspect.parse(entry) for entry in _read("aspects.yaml")["aspects"]),
        Opposites.parse(_read("opposites.yaml")["opposites"]),
    )


def _read(name: str) -> Any:
    return yaml.safe_load(files(__package__).joinpath(name).read_text("utf-8"))
