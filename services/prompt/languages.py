"""In which language a prompt is, by its script or by the small words of its sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.prompt.wording import Wording

SHARE = 0.3  # of the letters that are of a script before it decides: English prompts quote foreign words
HEX = 16


@dataclass(frozen=True)
class Script:
    """A script that tells a language; with `letters` only where one of these is there."""

    language: str
    ranges: tuple[tuple[int, int], ...]
    letters: frozenset[str]
    share: float

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Script":
        """Read one entry of `scripts` in languages.yaml."""
        ranges = tuple((int(str(first), HEX), int(str(last), HEX)) for first, last in data["ranges"])
        return cls(
            data["language"], ranges, frozenset(data.get("letters", "")), float(data.get("share", SHARE))
        )

    def fits(self, letters: str) -> bool:
        """Tell whether enough of a text's letters are of this script."""
        own = sum(any(first <= ord(letter) <= last for first, last in self.ranges) for letter in letters)
        return (
            own > 0
            and own >= self.share * len(letters)
            and (not self.letters or bool(self.letters & set(letters)))
        )


@dataclass(frozen=True)
class Languages:
    """The languages that are told. `words` has each one's small words, and what else only English prompts say."""

    scripts: tuple[Script, ...]
    words: Mapping[str, frozenset[str]]

    @classmethod
    def parse(cls, data: Mapping[str, Any], english: frozenset[str]) -> "Languages":
        """Read languages.yaml; `english` are words that count for English besides its own."""
        words = {language: frozenset(map(str, found)) for language, found in data["words"].items()}
        return cls(
            tuple(map(Script.parse, data["scripts"])),
            words | {"en": words["en"] | english - frozenset().union(*words.values())},
        )

    def of(self, text: str) -> str:
        """Return the language of a text as a BCP 47 code, such as `de`; empty where its words do not tell."""
        letters = "".join(filter(str.isalpha, text.casefold()))
        for script in self.scripts:
            if script.fits(letters):
                return script.language
        said = Wording.of(text).words
        found = {language: sum(word in words for word in said) for language, words in self.words.items()}
        best = max(found.values())
        first, *others = [language for language, count in found.items() if count == best]
        return "" if others or not best else first
