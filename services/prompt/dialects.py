"""The wording that a model likes: how additions are put behind the caller's words, and how much it reads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from services.prompt import tokens

MOST_CHARACTERS = 4000  # of a prompt, as ImageSpec declares: what is longer, no server takes
_ENDS_OF_CLAUSE = tuple(",.;:!?|\n")


class Form(StrEnum):
    """How phrases are put together."""

    TAGS = "tags"
    PROSE = "prose"


@dataclass(frozen=True)
class Dialect:
    """How a kind of model is spoken to; dialects.yaml says what each part is for. `tokens` may be infinite."""

    name: str
    models: tuple[str, ...]
    form: Form
    tokens: float = math.inf
    characters: int = MOST_CHARACTERS
    adds: bool = True

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Dialect":
        """Read one entry of dialects.yaml."""
        return cls(
            data["name"],
            tuple(data["models"]),
            Form(data["form"]),
            data.get("tokens", math.inf),
            data["characters"],
            data.get("adds", True),
        )

    def room(self, text: str) -> float:
        """Return how many more tokens may be said after a text, at least 0."""
        return max(0.0, self.tokens - tokens.MARKS - tokens.count(text)) if self.adds else 0.0

    def append(self, text: str, additions: Sequence[str], title: str = "") -> str:
        """Put additions behind a text that stays as it is, as many as the characters allow; the last are left out first.

        `title`, one of the additions, names the style.
        """
        for said in range(len(additions), 0, -1):
            longer = self._joined(text, list(additions[:said]), title)
            if len(longer.encode("utf-16-le", "surrogatepass")) <= 2 * self.characters:
                return longer
        return text

    def _joined(self, text: str, additions: list[str], title: str) -> str:
        addition = ", ".join(additions) if self.form is Form.TAGS else _sentence(additions, title)
        if not text.strip():
            return f"{text}{addition}"
        if text.rstrip().endswith(_ENDS_OF_CLAUSE):
            return f"{text}{addition}" if text[-1].isspace() else f"{text} {addition}"
        return f"{text}{',' if self.form is Form.TAGS else '.'} {addition}"


def _sentence(phrases: list[str], title: str) -> str:
    """Return phrases as a sentence, such as `Style: watercolor painting, with soft washes and soft light.`."""
    told = [phrase for phrase in phrases if phrase != title]
    if not told:
        return f"Style: {title}."
    *first, last = told
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"Style: {title}, with {listed}." if title in phrases else f"With {listed}."


@dataclass(frozen=True)
class Dialects:
    """All dialects; the first is for models that are in none."""

    dialects: tuple[Dialect, ...]

    def of(self, model: str) -> Dialect:
        """Return the dialect of a model; an empty name is no model."""
        fitting = (one for one in self.dialects for pattern in one.models if fnmatchcase(model, pattern))
        return next(fitting, self.dialects[0])
