"""The scorers: how well a backend would serve a demand, each in [0, 1] with 1 the best. Pure.

They look at a backend and at what a demand is expected to come to there. Scorers know nothing of each other; how they
weigh is `weights.yaml`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from router.snapshot import BackendView, Estimate


@dataclass(frozen=True, slots=True)
class Scales:
    """Where a score is one half: at so many seconds, at so many US dollars."""

    half_score_seconds: float
    half_score_usd: float


Scorer = Callable[[BackendView, Estimate, Scales], float]


def quality(_: BackendView, estimate: Estimate, __: Scales) -> float:
    """Score how good the result is expected to be."""
    return estimate.quality


def latency(_: BackendView, estimate: Estimate, scales: Scales) -> float:
    """Score how soon the result is expected: 1 at once, one half at the scale, towards 0 beyond."""
    half = scales.half_score_seconds
    return half / (half + estimate.seconds)


def cost(_: BackendView, estimate: Estimate, scales: Scales) -> float:
    """Score how little it costs: 1 for nothing, one half at the scale, towards 0 beyond, 0 where nobody knows."""
    half = scales.half_score_usd
    return half / (half + estimate.usd)


def headroom(backend: BackendView, _: Estimate, __: Scales) -> float:
    """Score how much of the backend is free, so that equals share the load."""
    return backend.headroom


SCORERS: Mapping[str, Scorer] = {"quality": quality, "latency": latency, "cost": cost, "headroom": headroom}
