"""Prompt templates: texts with holes, and what may stand in each hole."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from services.prompt.variables import Variable, VariableError, parse

_HOLE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
NEAR = 0.5  # how alike two names must be for one to be meant by the other
MOST_NEAR = 3


class FillError(Exception):
    """A template cannot be filled; `variable` names the hole, the text says the rule, `near` names that were meant."""

    def __init__(self, variable: str, rule: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(rule)
        self.variable = variable
        self.near = near


@dataclass(frozen=True)
class Template:
    """A prompt with holes, written {name}; `variables` are in the order of the holes. `style` is empty for none."""

    id: str
    category: str
    title: str
    style: str
    text: str
    variables: tuple[Variable, ...]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Template":
        """Read one entry of templates.yaml; raises ValueError when holes and variables do not match."""
        try:
            found = cls(
                data["id"],
                data["category"],
                data["title"],
                data["style"],
                data["text"],
                tuple(parse(name, entry) for name, entry in data["variables"].items()),
            )
        except KeyError as error:
            raise ValueError(f"template {data.get('id', 'without an id')}: {error} is missing") from error
        if list(dict.fromkeys(_HOLE.findall(found.text))) != [variable.name for variable in found.variables]:
            raise ValueError(f"template {found.id}: its holes are not its variables, in their order")
        return found

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


@dataclass(frozen=True)
class Library:
    """All templates, in the order of the file."""

    templates: tuple[Template, ...]

    def __post_init__(self) -> None:
        if len({template.id for template in self.templates}) != len(self.templates):
            raise ValueError("templates: an id is given twice")

    @property
    def categories(self) -> dict[str, int]:
        """The categories in the order of the file, with the number of their templates."""
        counts: dict[str, int] = {}
        for template in self.templates:
            counts[template.category] = counts.get(template.category, 0) + 1
        return counts

    def get(self, template_id: str) -> Template | None:
        """Return a template by id, or None."""
        return next((template for template in self.templates if template.id == template_id), None)

    def near(self, template_id: str) -> list[str]:
        """Return up to three ids like one that is not there, best first."""
        return get_close_matches(template_id, [template.id for template in self.templates], MOST_NEAR, NEAR)
