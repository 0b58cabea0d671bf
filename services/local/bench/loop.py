"""The closed loop: callers that wait for one request before they start the next, and paths that take turns."""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.local.bench.figures import Sample
from services.local.bench.paths import Path

BURST = 2  # requests of one caller before the next path has its turn
WARM_UPS = 2


@dataclass
class Measured:
    """What one path did."""

    samples: list[Sample] = field(default_factory=list)
    busy_seconds: float = 0.0


async def measure(
    paths: Mapping[str, Path],
    requests: int,
    callers: int,
    seconds: float,
    tell: Callable[[int], None] = lambda _: None,
) -> dict[str, Measured]:
    """Send `requests` on every path from `callers` at one time; ends early, between turns, after `seconds`.

    The order of the paths is turned round by one in every round, so that none always follows the same other one.
    """
    for path in paths.values():
        for seed in range(WARM_UPS):
            await path(seed)
    measured = {name: Measured() for name in paths}
    seeds = {name: itertools.count(1) for name in paths}
    names = list(paths)
    until = time.monotonic() + seconds
    while len(measured[names[0]].samples) < requests and time.monotonic() < until:
        left = requests - len(measured[names[0]].samples)
        turns = _turns(min(left, callers * BURST), callers)
        for name in names:
            began = time.perf_counter()
            bursts = await asyncio.gather(*(_burst(paths[name], seeds[name], turn) for turn in turns))
            measured[name].busy_seconds += time.perf_counter() - began
            measured[name].samples += itertools.chain.from_iterable(bursts)
            tell(sum(turns))
        names = [*names[1:], names[0]]
    return measured


def _turns(requests: int, callers: int) -> list[int]:
    """Return how many requests each caller sends, as evenly as it goes."""
    return [requests // callers + (caller < requests % callers) for caller in range(min(callers, requests))]


async def _burst(path: Path, seeds: "itertools.count[int]", requests: int) -> list[Sample]:
    return [await path(next(seeds)) for _ in range(requests)]
