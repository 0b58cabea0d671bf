"""The shipped prompt templates."""

from dataclasses import dataclass
from difflib import get_close_matches

from services.runtime.templates.template import MOST_NEAR, NEAR, Template


@dataclass(frozen=True)
class Library:
    """All templates, in the order of the file."""

    templates: tuple[Template, ...]

    def __post_init__(self) -> None:
        if len({template.id for template in self.templates}) != len(self.templates):
            raise ValueError("templates: an id is given twice")

    def get(self, template_id: str) -> Template | None:
        """Return a template by id, or None."""
        return next((template for template in self.templates if template.id == template_id), None)

    def near(self, template_id: str) -> list[str]:
        """Return up to three ids like one that is not there, best first."""
        return get_close_matches(template_id, [template.id for template in self.templates], MOST_NEAR, NEAR)
