"""What is made of the times: percentiles, differences, rates. Seconds in, seconds out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Sample:
    """One request on one path."""

    path: str
    drawn: float
    """Until the last denoising step, or the last response."""
    whole: float
    """Until the call had ended."""
    stages: Mapping[str, float]
    """How long each stage took, by its name; empty where the path tells none."""


@dataclass(frozen=True)
class Figures:
    """What one path came to."""

    path: str
    requests: int
    p50: float
    p90: float
    p99: float
    mean: float
    per_second: float
    """Requests ended in a second of this path's own bursts."""


def quantile(values: Sequence[float], q: float) -> float:
    """Return the nearest-rank quantile: the smallest value that is not below a share `q` of all."""
    if not values:
        raise ValueError("there is no quantile of nothing")
    ranked = sorted(values)
    return ranked[max(0, math.ceil(q * len(ranked)) - 1)]


def figures(path: str, samples: Sequence[Sample], busy_seconds: float) -> Figures:
    """Return a path's figures; `busy_seconds` is how long its bursts took together."""
    drawn = [sample.drawn for sample in samples]
    p50, p90, p99 = (quantile(drawn, q) for q in QUANTILES)
    mean = sum(drawn) / len(drawn)
    return Figures(path, len(drawn), p50, p90, p99, mean, len(drawn) / busy_seconds)


def stages(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Return P50 and P99 of every stage, in the order in which they were met first."""
    names = list(dict.fromkeys(name for sample in samples for name in sample.stages))
    found = {}
    for name in names:
        seconds = [sample.stages[name] for sample in samples if name in sample.stages]
        found[name] = (quantile(seconds, 0.5), quantile(seconds, 0.99))
    return found
