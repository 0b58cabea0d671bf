"""Prompt templates: texts with holes, and what may stand in each hole."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from services.runtime.templates.variables import Variable, VariableError, one_line, parse

_HOLE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
NEAR = 0.5  # how alike two names must be for one to be meant by the other
MOST_NEAR = 3
MOST_HOLES = 32  # as ApplyTemplateRequest takes


class TemplateError(ValueError):
    """No template; `part` names what is wrong, such as `text`, and the text says the rule."""

    def __init__(self, part: str, rule: str) -> None:
        super().__init__(rule)
        self.part = part


class FillError(Exception):
    """A template cannot be filled; `variable` names the hole, the text says the rule, `near` names that were meant."""

    def __init__(self, variable: str, rule: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(rule)
        self.variable = variable
        self.near = near


@dataclass(frozen=True)
class Template:
    """A prompt with holes, written {name}; `variables` are in the order of the holes. `style` is empty for none.

    Raises TemplateError where text, holes and variables do not fit one another.
    """

    id: str
    category: str
    title: str
    style: str
    text: str
    variables: tuple[Variable, ...]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Template":
        """Read one entry of templates.yaml; raises ValueError naming it."""
        try:
            return cls(
                data["id"],
                data["category"],
                data["title"],
                data["style"],
                data["text"],
                tuple(parse(name, entry) for name, entry in data["variables"].items()),
            )
        except KeyError as error:
            raise ValueError(f"template {data.get('id', 'without an id')}: {error} is missing") from error
        except TemplateError as error:
            raise ValueError(f"template {data['id']}: {error.part}: {error}") from error

    def __post_init__(self) -> None:
        if not (one_line(self.text) and self.text.strip()):
            raise TemplateError("text", "is one line without control characters, and not empty")
        if not one_line(self.title):
            raise TemplateError("name", "is one line without control characters")
        if any(brace in _HOLE.sub("", self.text) for brace in "{}"):
            raise TemplateError(
                "text", "has braces that are no hole: {name}, of small letters, digits and underscores"
            )
        holes = list(dict.fromkeys(_HOLE.findall(self.text)))
        if holes != [variable.name for variable in self.variables]:
            raise TemplateError(
                "holes", f"are to be those of the text, each once, in its order: {', '.join(holes) or 'none'}"
            )
        if len(holes) > MOST_HOLES:
            raise TemplateError("holes", f"are at most {MOST_HOLES}")

    def fill(self, given: Mapping[str, str]) -> str:
        """Return the text with its holes filled, by `given` or by what a variable has for want of it; raises FillError."""
        names = [variable.name for variable in self.variables]
        for name in given:
            if name not in names:
                near = tuple(get_close_matches(name, names, MOST_NEAR, NEAR))
                raise FillError(name, f"is no variable of {self.id}, which has {', '.join(names)}", near)
        values = {}
        for variable in self.variables:
            try:
                values[variable.name] = variable.take(given.get(variable.name))
            except VariableError as error:
                raise FillError(variable.name, str(error), error.near) from error
        # In one pass: what fills a hole is never read for holes itself.
        return _HOLE.sub(lambda hole: values[hole[1]], self.text)

    @property
    def example(self) -> str:
        """The text filled with what each variable has for want of a value, or with its example."""
        return self.fill({variable.name: variable.sample for variable in self.variables})
