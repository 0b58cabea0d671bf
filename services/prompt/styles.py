"""The style set: what the mesh knows of each style, and how a name that it does not know is answered."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import IntEnum
from typing import Any

from services.prompt.wording import Wording, phrases

NEAR = 0.5  # how alike two names must be for one to be meant by the other
MOST_NEAR = 3


class Level(IntEnum):
    """How far a prompt may be rewritten; the numbers are the contract's."""

    NONE = 1
    LIGHT = 2
    STANDARD = 3
    RICH = 4


@dataclass(frozen=True)
class Style:
    """A style; styles.yaml says what each part is for. `words` holds, per level, the phrases added from it upwards."""

    name: str
    keywords: tuple[Wording, ...]
    exemplars: tuple[str, ...]
    words: Mapping[Level, tuple[str, ...]]
    aspects: Mapping[str, str]
    negative: tuple[str, ...]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Style":
        """Read one entry of the style set; raises ValueError when a part is missing."""
        try:
            return cls(
                data["name"],
                phrases(data["keywords"]),
                tuple(data["exemplars"]),
                {
                    level: tuple(data[level.name.lower()])
                    for level in (Level.LIGHT, Level.STANDARD, Level.RICH)
                },
                dict(data.get("aspects", {})),
                tuple(data["negative"]),
            )
        except KeyError as error:
            raise ValueError(f"style {data.get('name', 'without a name')}: {error} is missing") from error

    @property
    def title(self) -> str:
        """The phrase that names the style in a prompt."""
        return self.words[Level.LIGHT][0]


class UnknownStyleError(Exception):
    """A name that is not of the set; `near` holds up to three names that may have been meant, best first."""

    def __init__(self, name: str, near: Sequence[str]) -> None:
        super().__init__(name)
        self.near = list(near)


@dataclass(frozen=True)
class StyleSet:
    """All styles, in the order of the file."""

    styles: tuple[Style, ...]
    naming: re.Pattern[str] = field(init=False, repr=False)
    """Finds the keywords of all styles in a text as it was written, the longest first."""
    _by_name: Mapping[str, Style] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_name = {style.name: style for style in self.styles}
        if len(by_name) != len(self.styles):
            raise ValueError("styles: a name is given twice")
        object.__setattr__(self, "_by_name", by_name)
        object.__setattr__(
            self, "naming", _naming([word for style in self.styles for word in style.keywords])
        )

    @property
    def names(self) -> list[str]:
        """The names, in the order of the file."""
        return list(self._by_name)

    def get(self, name: str) -> Style:
        """Return a style by name; raises UnknownStyleError with near names."""
        if style := self._by_name.get(name):
            return style
        raise UnknownStyleError(name, self._near(name))

    def _near(self, name: str) -> list[str]:
        """Return names that look alike, after those whose own keywords the name is."""
        asked = Wording.of(name.replace("_", " "))
        meant = [style.name for style in self.styles if asked in style.keywords]
        alike = get_close_matches(name, self.names, n=MOST_NEAR, cutoff=NEAR)
        return list(dict.fromkeys(meant + alike))[:MOST_NEAR]


def _naming(keywords: Sequence[Wording]) -> re.Pattern[str]:
    longest_first = sorted({keyword.words for keyword in keywords}, key=lambda words: (-len(words), words))
    alternatives = "|".join(r"[\s-]+".join(map(re.escape, words)) for words in longest_first)
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)
