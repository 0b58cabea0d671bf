"""The scorers: how well a backend would serve a demand, each in [0, 1] with 1 the best. Pure.

Scorers know nothing of each other; how they weigh is `weights.yaml`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from router.demand import Demand
from router.snapshot import BackendView


@dataclass(frozen=True, slots=True)
class Scales:
    """Where a score is one half: at so many seconds, at so many US dollars."""

    half_score_seconds: float
    half_score_usd: float


Scorer = Callable[[Demand, BackendView, Scales], float]


def quality(demand: Demand, backend: BackendView, __: Scales) -> float:
    """Score how good the result is expected to be."""
    return backend.expected_quality(demand)


def latency(demand: Demand, backend: BackendView, scales: Scales) -> float:
    """Score how soon the result is expected: 1 at once, one half at the scale, towards 0 beyond."""
    half = scales.half_score_seconds
    return half / (half + backend.seconds(demand))


def cost(demand: Demand, backend: BackendView, scales: Scales) -> float:
    """Score how little it costs: 1 for nothing, one half at the scale, towards 0 beyond."""
    half = scales.half_score_usd
    return half / (half + backend.usd(demand))


def headroom(_: Demand, backend: BackendView, __: Scales) -> float:
    """Score how much of the backend is free, so that equals share the load."""
    return 1.0 - (backend.in_flight + backend.waiting) / max(1, backend.slots + backend.queue)


SCORERS: Mapping[str, Scorer] = {"quality": quality, "latency": latency, "cost": cost, "headroom": headroom}
