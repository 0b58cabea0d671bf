"""What takes part in a run without being needed for it: who writes runs down, who explores, who runs experiments."""

import random
from typing import TYPE_CHECKING, Protocol

from router.decision import Candidate, Decision, pick
from router.order import Assignment, Order
from router.runs import Run

if TYPE_CHECKING:
    from router.execution import Execution


class Journal(Protocol):
    """Hears of every run that ended, hedges, shadows and cancelled ones among them."""

    def ended(self, run: Run) -> None:
        """Take a run in; never waits and never raises. The fleet's learning has heard of it already."""


class Explorer(Protocol):
    """Chooses among the candidates of a decision."""

    def pick(self, decision: Decision, rng: random.Random) -> tuple[Candidate, str] | None:
        """Return a candidate, and why in words where it is not the best; None when every backend was refused."""


class Splitter(Protocol):
    """Splits requests between the arms of experiments."""

    def split(self, order: Order) -> Assignment | None:
        """Return the arm of an order that names no model, None outside experiments; never waits and never raises."""

    def mirrored(self, order: Order, execution: "Execution") -> None:
        """Start the copies that shadows get of an order, which was just routed; never waits and never raises."""


class Unwritten:
    """A journal that keeps nothing."""

    def ended(self, run: Run) -> None:
        """Forget the run."""


class Best:
    """Explores nothing."""

    def pick(self, decision: Decision, rng: random.Random) -> tuple[Candidate, str] | None:
        """Return the best candidate."""
        best = pick(decision)
        return (best, "") if best else None


class Unsplit:
    """No experiments."""

    def split(self, order: Order) -> Assignment | None:
        """Return no arm."""
        return None

    def mirrored(self, order: Order, execution: "Execution") -> None:
        """Start nothing."""
