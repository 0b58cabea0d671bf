"""The labelled prompts, and the half that each belongs to."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

PROMPTS = Path(__file__).with_name("prompts.yaml")
LATER = Path(__file__).with_name("later.yaml")
FRESH = Path(__file__).with_name("fresh.yaml")
REWORDED = Path(__file__).with_name("reworded.yaml")
HARMLESS = ("hard", "plain")


class Half(StrEnum):
    """Rules, exemplars and thresholds may be chosen on the first; the second is reported."""

    TUNE = "tune"
    REPORT = "report"


@dataclass(frozen=True)
class Labelled:
    """A prompt, what it is (`hate` and so on, or `hard` or `plain` where it is harmless) and its language."""

    text: str
    label: str
    language: str

    @property
    def unsafe(self) -> bool:
        """Whether it has to be refused."""
        return self.label not in HARMLESS

    @property
    def half(self) -> Half:
        """The half it belongs to, by a hash of its text: adding prompts moves no other one."""
        return (Half.TUNE, Half.REPORT)[hashlib.sha256(self.text.encode()).digest()[0] % 2]


def load(path: Path = PROMPTS) -> list[Labelled]:
    """Read the prompts in the order of the file."""
    return list(_entries(yaml.safe_load(path.read_text("utf-8"))))


def _entries(data: Any) -> Iterator[Labelled]:
    labels = {**data["unsafe"], **{label: data[label] for label in HARMLESS}}
    for label, languages in labels.items():
        for language, texts in languages.items():
            for text in texts:
                yield Labelled(text, label, language)
