"""Everything that the prompt room knows, as it is shipped beside this module."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from services.prompt.alternatives import Alternatives
from services.prompt.ambiguities import Ambiguities
from services.prompt.aspects import Aspect, Opposites
from services.prompt.dialects import Dialect, Dialects
from services.prompt.languages import Languages
from services.prompt.styles import Style, StyleSet
from services.prompt.templates import Library
from services.runtime.templates.template import Template


@dataclass(frozen=True)
class Lexicon:
    """The styles, the aspects of a picture, the words that speak against each other, and the other data files."""

    styles: StyleSet
    aspects: tuple[Aspect, ...]
    opposites: Opposites
    ambiguities: Ambiguities
    languages: Languages
    dialects: Dialects
    library: Library
    alternatives: Alternatives
    suggestions: Mapping[str, tuple[str, ...]]
    """By aspect, what may be said of it where a prompt says nothing."""


def load() -> Lexicon:
    """Read the data files; raises ValueError naming the entry that is wrong."""
    aspects = tuple(Aspect.parse(entry) for entry in _read("aspects.yaml")["aspects"])
    english = frozenset(word for aspect in aspects for phrase in aspect.words for word in phrase.words)
    return Lexicon(
        StyleSet(tuple(Style.parse(entry) for entry in _read("styles.yaml")["styles"])),
        aspects,
        Opposites.parse(_read("opposites.yaml")["opposites"]),
        Ambiguities.parse(_read("ambiguities.yaml")),
        Languages.parse(_read("languages.yaml"), english),
        Dialects(tuple(Dialect.parse(entry) for entry in _read("dialects.yaml")["dialects"])),
        Library(tuple(Template.parse(entry) for entry in _read("templates.yaml")["templates"])),
        Alternatives.parse(_read("alternatives.yaml")["alternatives"]),
        {name: tuple(options) for name, options in _read("suggestions.yaml")["suggestions"].items()},
    )


def _read(name: str) -> Any:
    return yaml.safe_load(files(__package__).joinpath(name).read_text("utf-8"))
