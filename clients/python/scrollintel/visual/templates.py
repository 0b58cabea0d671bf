"""Prompt templates and suggestions, as the mesh offers them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from scrollintel.visual.v1 import assets_pb2, prompt_pb2

_HOLE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
OWN = "own-"
"""How the ids of one's own templates begin, and of no others."""
MAX_LENGTH = 120
"""Characters that a hole of words takes where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a template, and what it takes: words, one of `options`, or a whole number from `lowest` to `highest`."""

    name: str
    about: str
    default: str
    """What stands there where nothing is given; empty where the caller has to say."""
    options: tuple[str, ...] = ()
    lowest: int | None = None
    highest: int | None = None
    max_length: int | None = None
    example: str = ""

    @property
    def rule(self) -> str:
        """What it takes, in words."""
        if self.options:
            return ", ".join(self.options)
        if self.lowest is not None:
            return f"{self.lowest} to {self.highest}"
        return self.default or f"such as {self.example}"

    @property
    def sample(self) -> str:
        """A value that it takes."""
        return self.default or (self.options[0] if self.options else self.example)

    def write(self) -> prompt_pb2.TemplateVariable:
        """Return the hole as it goes over the wire: words, unless it has options or a lowest number.

        Raises:
            TypeError: a part is not of its type.
            ValueError: a number is beyond 32 bits, or a text is not valid Unicode.
        """
        hole = prompt_pb2.TemplateVariable(name=self.name, about=self.about, default_value=self.default)
        if self.options:
            hole.choice.options.extend(self.options)
        elif self.lowest is not None and self.highest is not None:
            hole.number.CopyFrom(prompt_pb2.NumberRule(lowest=self.lowest, highest=self.highest))
        else:
            most = MAX_LENGTH if self.max_length is None else self.max_length
            hole.text.CopyFrom(prompt_pb2.TextRule(max_length=most, example=self.example))
        return hole

    @classmethod
    def read(cls, message: prompt_pb2.TemplateVariable) -> "Hole":
        """Read a hole from the wire."""
        kind = message.WhichOneof("rule")
        return cls(
            name=message.name,
            about=message.about,
            default=message.default_value,
            options=tuple(message.choice.options),
            lowest=message.number.lowest if kind == "number" else None,
            highest=message.number.highest if kind == "number" else None,
            max_length=message.text.max_length if kind == "text" else None,
            example=message.text.example,
        )


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with holes, written {name}."""

    id: str
    category: str
    title: str
    text: str
    style: str
    """The style that it is in; empty for none."""
    example: str
    """The prompt that it makes of its own defaults and examples."""
    holes: tuple[Hole, ...]
    own: bool = False
    """Whether it is one of one's own."""

    @classmethod
    def read(cls, message: prompt_pb2.PromptTemplate) -> "Template":
        """Read a template from the wire."""
        return cls(
            id=message.id,
            category=message.category,
            title=message.title,
            text=message.text,
            style=message.style,
            example=message.example,
            holes=tuple(map(Hole.read, message.holes)),
            own=message.own,
        )

    @classmethod
    def stored(cls, message: assets_pb2.StoredTemplate) -> "Template":
        """Read one of one's own from the wire."""
        holes = tuple(map(Hole.read, message.holes))
        samples = {hole.name: hole.sample for hole in holes}
        return cls(
            id=message.id,
            category=message.category,
            title=message.name,
            text=message.text,
            style=message.style,
            example=_HOLE.sub(lambda hole: samples.get(hole[1], hole[0]), message.text),
            holes=holes,
            own=True,
        )


class TemplateList(list[Template]):
    """Templates that were found; `own_unavailable` tells whether one's own are missing, since their store did not answer."""

    own_unavailable: bool = False


@dataclass(frozen=True, slots=True)
class Filled:
    """A template's prompt and the style that goes with it, empty for none."""

    prompt: str
    style: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A clearer prompt, why it is clearer, and what was added by the aspect that it speaks of."""

    prompt: str
    reason: str
    added: Mapping[str, str]
