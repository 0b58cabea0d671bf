"""The policies to beat: simple rules, as they are in use, and the oracle that nobody can beat by one decision."""

import itertools
from collections.abc import Mapping, Sequence

from bench.routing_day.day import Backend, Day
from bench.routing_day.world import Request, Truth
from router.runs import Run, Verdict


class Rule:
    """A policy that learns nothing."""

    def changed(self, backend: Backend) -> None:
        """Nothing to do."""

    def ended(self, run: Run) -> None:
        """Nothing to learn."""

    def judged(self, run: Run, verdict: Verdict) -> None:
        """Nothing to learn."""


class RoundRobin(Rule):
    """Each backend in its turn."""

    def __init__(self, truths: Sequence[Truth]) -> None:
        self._turns = itertools.cycle(truth.name for truth in truths)

    def choose(self, request: Request, backends: Mapping[str, Backend]) -> str:
        """Return the next one."""
        return next(self._turns)


class LeastLoaded(Rule):
    """Where the smallest share of the slots is taken, those who wait counted; equals take turns."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, request: Request, backends: Mapping[str, Backend]) -> str:
        """Return the least loaded one."""
        ranked = list(backends.values())
        self._turn = (self._turn + 1) % len(ranked)

        def load(backend: Backend) -> float:
            return (len(backend.running) + len(backend.waiting)) / backend.truth.concurrency

        return min(ranked[self._turn :] + ranked[: self._turn], key=load).truth.name


class Cheapest(Rule):
    """The lowest price; among equals, and when it is busy, the one with the shortest queue."""

    def choose(self, request: Request, backends: Mapping[str, Backend]) -> str:
        """Return the cheapest one."""
        cheapest = min(
            backends.values(),
            key=lambda backend: (backend.truth.price, len(backend.waiting), backend.truth.name),
        )
        return cheapest.truth.name


class StaticPriority(Rule):
    """A list that somebody wrote down, by the quality the configuration promises: the first that has a free slot."""

    def __init__(self, truths: Sequence[Truth]) -> None:
        ranked = sorted(truths, key=lambda truth: truth.prior_quality, reverse=True)
        self._order = [truth.name for truth in ranked]

    def choose(self, request: Request, backends: Mapping[str, Backend]) -> str:
        """Return the first of the list with a free slot, else the first."""
        for name in self._order:
            if len(backends[name].running) < backends[name].truth.concurrency:
                return name
        return self._order[0]


class Oracle(Rule):
    """Knows the truth and every queue, and takes what is worth most at each moment. Its regret is 0 by definition."""

    day: Day

    def choose(self, request: Request, backends: Mapping[str, Backend]) -> str:
        """Return the best one."""
        return max(backends.values(), key=lambda backend: self.day.worth(request, backend)).truth.name
