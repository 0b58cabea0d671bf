"""What has to leave memory for a model to fit: the least recently used of those that nobody uses and nothing pins."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holding:
    """A model that holds memory: `size` in bytes, `used_at` on any clock; who is `busy` is in use, or wanted."""

    name: str
    size: int
    used_at: float
    pinned: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Fits:
    """It fits once these are gone."""

    evict: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Busy:
    """It would fit if the work on these ended."""

    waits_for: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TooLarge:
    """It fits beside the pinned models in no case: they leave this many bytes of the budget."""

    room: int


Plan = Fits | Busy | TooLarge


def plan(size: int, holdings: Sequence[Holding], budget: int) -> Plan:
    """Return what to do so that `size` bytes more stay within `budget`; evicts as little as the order of use allows."""
    excess = sum(holding.size for holding in holdings) + size - budget
    if excess <= 0:
        return Fits()
    # Those in use come last: to wait for them is the last resort, and evicting them is none.
    leavable = sorted(
        (holding for holding in holdings if not holding.pinned),
        key=lambda holding: (holding.busy, holding.used_at, holding.name),
    )
    if excess > sum(holding.size for holding in leavable):
        return TooLarge(max(0, budget - sum(holding.size for holding in holdings if holding.pinned)))
    leaving: list[Holding] = []
    for holding in leavable:
        if excess <= 0:
            break
        leaving.append(holding)
        excess -= holding.size
    # What came before a large one may not have been needed: spared, the most recently used first.
    for holding in reversed(leaving[:-1]):
        if excess + holding.size <= 0:
            leaving.remove(holding)
            excess += holding.size
    waits_for = tuple(holding.name for holding in leaving if holding.busy)
    return Busy(waits_for) if waits_for else Fits(tuple(holding.name for holding in leaving))
