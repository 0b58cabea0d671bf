"""Which templates a search means, best first."""

from collections.abc import Sequence

from services.prompt.detection import Vectors
from services.prompt.wording import Wording
from services.runtime.templates.template import Template

# Cosine of a query and a template below which the two have nothing to do with each other; docs/04-prompt.md.
LIKE = 0.25


def told(template: Template) -> str:
    """Return what a template is compared by: its title, its category, and the prompt it makes."""
    return f"{template.title}, {template.category}: {template.example}"


def by_meaning(cosines: Vectors, templates: Sequence[Template]) -> list[Template]:
    """Return the templates that a query is like enough, nearest first; `cosines` is [N] for N templates."""
    ranked = sorted(
        zip(cosines.tolist(), range(len(templates)), strict=True), key=lambda pair: (-pair[0], pair[1])
    )
    return [templates[index] for cosine, index in ranked if cosine > LIKE]


def by_words(query: str, templates: Sequence[Template]) -> list[Template]:
    """Return the templates that share content words with a query, those with most first."""
    asked = Wording.of(query).content
    shared = [(len(asked & Wording.of(told(template)).content), template) for template in templates]
    return [template for count, template in sorted(shared, key=lambda pair: -pair[0]) if count]
