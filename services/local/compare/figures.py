"""What came of a comparison, in numbers. Means are over the pictures that were made; nothing is made up for the rest.

A run that first had to bring its model into memory tells its seconds, and they are in no mean: they say how long the
model takes to load, and that once.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scrollintel.visual.exceptions import VisualMeshError

SCORES = ("overall", "technical", "prompt_adherence", "aesthetic")  # of a picture, in [0, 1]
COMPARED = (*SCORES, "seconds", "cost_usd")


@dataclass(frozen=True)
class Outcome:
    """What one model made of one prompt, or why it made nothing."""

    prompt: str
    """The prompt's name."""
    model: str
    generation: str = ""
    backend: str = ""
    asset: str = ""
    seed: int | None = None
    seconds: float | None = None
    """From acceptance to the stored picture."""
    cold: bool = False
    """Whether its model had to be brought into memory first."""
    cost_usd: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    """Every score that was measured, in [0, 1]."""
    path: Path | None = None
    """The picture's file."""
    error: VisualMeshError | None = None

    def figure(self, name: str) -> float | None:
        """Return a figure by name; None where it was not measured."""
        found: float | None = self.scores.get(name) if name in SCORES else getattr(self, name)
        return found

    def comparable(self, name: str) -> float | None:
        """Return a figure by name where it may stand beside others'; None where it may not."""
        return None if self.cold and name == "seconds" else self.figure(name)


@dataclass(frozen=True)
class Spread:
    """A mean, and the standard deviation of a sample; None of fewer than two."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Summary:
    """What a model came to over all prompts."""

    model: str
    made: int
    asked: int
    figures: Mapping[str, Spread]
    """By name; one that was measured of no picture is absent."""


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and the spread of at least one value."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


def summaries(outcomes: Iterable[Outcome]) -> list[Summary]:
    """Return what every model came to, in the order in which they come first."""
    by_model: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_model.setdefault(outcome.model, []).append(outcome)
    return [_summary(model, found) for model, found in by_model.items()]


def _summary(model: str, outcomes: Sequence[Outcome]) -> Summary:
    made = [outcome for outcome in outcomes if outcome.error is None]
    measured = {
        name: [value for outcome in made if (value := outcome.comparable(name)) is not None]
        for name in COMPARED
    }
    figures = {name: spread(values) for name, values in measured.items() if values}
    return Summary(model, len(made), len(outcomes), figures)
