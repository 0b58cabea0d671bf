"""When a second backend is started on the same request because the first is late. Pure.

A late run is often a stuck one, and a second copy elsewhere ends the wait (Dean and Barroso, *The Tail at Scale*, 2013).
It is worth it only for work that costs nothing twice, and only rarely: a budget keeps a slow day from doubling the load.
"""

from dataclasses import dataclass

from router.decision import Candidate, Decision
from router.demand import Demand
from router.learning.seconds import Forecast
from router.runs import Work
from router.snapshot import BackendView, State


@dataclass(frozen=True, slots=True)
class Hedging:
    """How late is too late, and how often a second run is started at most.

    A run is late when its first output is not there `deviations` standard deviations after the expected time, and never
    within `least` seconds. Hedges are at most `share` of the requests over time, and `burst` at once.
    """

    deviations: float = 3.0  # a run in a thousand, if the forecast's errors were normal
    least: float = 0.5  # what a few pictures drawn at once on two cores may add to each other
    share: float = 0.05
    burst: float = 4.0


HEDGING = Hedging()


class HedgeBudget:
    """Counts what hedges may still be started: each request earns its share of one, each hedge spends one."""

    def __init__(self, rules: Hedging) -> None:
        self._rules = rules
        self.tokens = rules.burst

    def earn(self) -> None:
        """Take in a request."""
        self.tokens = min(self._rules.burst, self.tokens + self._rules.share)

    def spend(self) -> bool:
        """Take what a hedge costs; return False, and take nothing, where it is not there."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def is_hedged(decision: Decision, chosen: BackendView) -> bool:
    """Return whether a run may get a second one: neither costs money."""
    return not chosen.paid and any(
        not one.backend.paid and one.backend.name != chosen.name for one in decision.candidates
    )


def late_after(demand: Demand, chosen: BackendView, rules: Hedging) -> float:
    """Return the seconds after which a run whose first output is not there is late, its wait and a load included."""
    return max(rules.least, chosen.seconds(demand) + rules.deviations * chosen.deviation(demand))


def overdue_after(work: Work, beside: int, forecast: Forecast, rules: Hedging) -> float:
    """Return the seconds after which a run without an output is late beside so many others, its wait and load apart."""
    expected = forecast.seconds(work, beside)
    return max(rules.least, expected + rules.deviations * forecast.deviation(work, beside))


def partner(decision: Decision) -> Candidate | None:
    """Return the best candidate that would begin at once and costs nothing, None where there is none."""
    return next((one for one in decision.candidates if is_free(one.backend)), None)


def is_free(backend: BackendView) -> bool:
    """Return whether a backend costs nothing, has a slot, and has its model in memory: nothing is unloaded for a hedge."""
    return not backend.paid and backend.state is State.READY and backend.in_flight < backend.slots
