"""The scorers: how well a backend would serve a demand, each in [0, 1] with 1 the best. Pure.

Scorers read a forecast and know nothing of each other; how they weigh is `weights.yaml`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from router.demand import Demand
from router.snapshot import BackendView


class Forecast(NamedTuple):
    """What a demand is expected to take and give on one backend: `seconds` with its wait, `usd`, `quality` in [0, 1]."""

    seconds: float
    usd: float
    quality: float


@dataclass(frozen=True, slots=True)
class Scales:
    """Where a score is one half: at so many seconds, at so many US dollars."""

    half_score_seconds: float
    half_score_usd: float


Scorer = Callable[[Forecast, BackendView, Scales], float]


def forecast(demand: Demand, backend: BackendView) -> Forecast:
    """Forecast from the backend's pace, its queue, its price and its prior of quality."""
    images = demand.images
    seconds = backend.wait() + backend.pace * backend.steps(demand) * images
    return Forecast(seconds, backend.price * images, backend.quality)


def quality(expected: Forecast, _: BackendView, __: Scales) -> float:
    """Score how good the result is expected to be."""
    return expected.quality


def latency(expected: Forecast, _: BackendView, scales: Scales) -> float:
    """Score how soon the result is expected: 1 at once, one half at the scale, towards 0 beyond."""
    return scales.half_score_seconds / (scales.half_score_seconds + expected.seconds)


def cost(expected: Forecast, _: BackendView, scales: Scales) -> float:
    """Score how little it costs: 1 for nothing, one half at the scale, towards 0 beyond."""
    return scales.half_score_usd / (scales.half_score_usd + expected.usd)


def headroom(_: Forecast, backend: BackendView, __: Scales) -> float:
    """Score how much of the backend is free, so that equals share the load."""
    return 1.0 - (backend.in_flight + backend.waiting) / (backend.concurrency + backend.queue)


SCORERS: Mapping[str, Scorer] = {"quality": quality, "latency": latency, "cost": cost, "headroom": headroom}
