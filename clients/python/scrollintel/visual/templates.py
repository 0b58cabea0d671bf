"""Prompt templates and suggestions, as the mesh offers them."""

from collections.abc import Mapping
from dataclasses import dataclass

from scrollintel.visual.v1 import prompt_pb2


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
        )


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
