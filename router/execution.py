"""Runs a request: on the best backend, beside a second one when it is late, and on the next one when it fails.

Nothing is made twice once a picture was told, nothing is paid twice, and nothing goes to a backend that is predicted to
miss the caller's deadline. `turns` is one run on one backend, `recovery` what follows a failed one, `hedging` and `race`
the second one beside it.
"""

import itertools
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from router.backends.protocol import Stored
from router.decision import Candidate, Decision, Policy, decide
from router.demand import Demand
from router.events import Drawn, Event, Fallback, Routed, RunEvent
from router.explanation import reasons
from router.fleet import Fleet
from router.hedging import HEDGING, HedgeBudget, Hedging, is_hedged, late_after, partner
from router.hooks import Best, Explorer, Journal, Splitter, Unsplit, Unwritten
from router.order import Order
from router.race import Contender, Race
from router.recovery import Failure, Next
from router.refusals import alternatives, check_model, refused
from router.turns import Attempt, Turns
from services.runtime import deadline, telemetry
from services.runtime.errors import MeshError

_hedges = telemetry.meter.create_counter(
    "vmesh.router.hedges", description="Second runs that were started beside a late one"
)


@dataclass(eq=False, slots=True)
class _Course:
    """What has happened with an order: who `tried`, who failed last and how, whether a picture was told.

    `unpaid` is set where a run that failed may have been charged: only backends that cost nothing may go on.
    """

    order: Order
    decision: Decision
    chosen: Candidate
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    tried: frozenset[str] = frozenset()
    failed: str = ""
    failure: Failure | None = None
    unpaid: bool = False
    drew: bool = False

    def attempt(self, candidate: Candidate) -> Attempt:
        return Attempt(self.order, candidate.backend, len(self.decision.candidates) > 1, self.numbers)

    def fail(self, attempt: Attempt, error: MeshError) -> None:
        self.failed, self.failure = attempt.backend.name, attempt.failure(error)
        self.tried |= {self.failed}
        self.unpaid = self.unpaid or self.failure.next() is Next.UNPAID


@dataclass(frozen=True)
class Execution:
    """Runs orders on a fleet; `seconds` is the most that one run may take, its queue apart.

    `journal` hears of every run, `explorer` chooses among the candidates, `splitter` knows the experiments.
    """

    fleet: Fleet
    policy: Policy
    seconds: float
    journal: Journal = field(default_factory=Unwritten)
    explorer: Explorer = field(default_factory=Best)
    splitter: Splitter = field(default_factory=Unsplit)
    hedging: Hedging = HEDGING
    rng: random.Random = field(default_factory=random.Random)
    _turns: Turns = field(init=False)
    _budget: HedgeBudget = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_turns", Turns(self.fleet, self.seconds, self.journal, self.hedging))
        object.__setattr__(self, "_budget", HedgeBudget(self.hedging))

    def decide(self, demand: Demand) -> Decision:
        """Decide over the fleet as it is now. Raises MeshError MODEL_UNKNOWN."""
        snapshot = self.fleet.snapshot()
        check_model(demand.model, snapshot)
        return decide(demand, snapshot, self.policy)

    async def run(self, order: Order) -> AsyncGenerator[Event]:
        """Run an order: Routed first, then what happens. Closing the generator stops the backends.

        Raises MeshError: what `refusals.refused` tells when nobody can serve, else what the last backend failed with.
        """
        deadline.budget(self.seconds)  # whose time is up is told that, not that nobody is fast enough
        order, decision = self._routed(order)
        picked = self.explorer.pick(decision, self.rng)
        if picked is None:
            raise refused(decision, self.fleet.snapshot())
        chosen, why = picked
        words = reasons(decision, chosen, self.policy)
        yield Routed(chosen, decision, [why, *words] if why else words)
        course = _Course(order, decision, chosen)
        self.splitter.mirrored(order, self)
        self._budget.earn()
        while True:
            try:
                async with aclosing(self._led(course)) as events:
                    async for event in events:
                        course.drew = course.drew or isinstance(event, Drawn | Stored)
                        yield event
            except MeshError as error:
                failure = error
            else:
                return
            if not self._moved_on(course):
                failure.alternative_models = alternatives(course.decision, self.fleet.snapshot())
                raise failure
            yield Fallback(course.failed, course.chosen.backend.name, failure.message)

    def _routed(self, order: Order) -> tuple[Order, Decision]:
        """Decide for an order, in the arm of its experiment where each of the arms could serve it.

        If its own had to alone, an arm that takes less would be measured on easier requests than the others.
        """
        if not order.demand.model and (assignment := self.splitter.split(order)):
            assigned = order.assigned(assignment)
            decision = self._decided(assigned.demand)
            if decision.candidates and all(
                self._could_serve(order.demand, model) for model in assignment.others
            ):
                return assigned, decision
        check_model(order.demand.model, self.fleet.snapshot())
        return order, self._decided(order.demand)

    def _could_serve(self, demand: Demand, model: str) -> bool:
        return bool(self._decided(replace(demand, model=model)).candidates)

    def _decided(self, demand: Demand, tried: frozenset[str] = frozenset()) -> Decision:
        """Decide for a demand in the time that its caller has left."""
        limits = [max(0.0, limit) for limit in (demand.time_limit, deadline.remaining()) if limit is not None]
        now = replace(demand, tried=demand.tried | tried, time_limit=min(limits, default=None))
        return decide(now, self.fleet.snapshot(), self.policy)

    def _moved_on(self, course: _Course) -> bool:
        """Choose who goes on after a failure; return False when nobody does."""
        failure, order = course.failure, course.order
        course.decision = self._decided(order.demand, course.tried)
        if failure is None or failure.next() is Next.NOBODY or course.drew:
            return False
        if not course.decision.candidates and order.assignment:
            course.order = order.released()
            course.decision = self._decided(course.order.demand, course.tried)
        able = [one for one in course.decision.candidates if not (course.unpaid and one.backend.paid)]
        if able:
            course.chosen = able[0]
        return bool(able)

    async def _led(self, course: _Course) -> AsyncGenerator[RunEvent | Fallback]:
        """Run on the chosen backend, and on a second one beside it when that is late."""
        first, order = course.chosen, course.order
        running = self._attempted(course, first)
        if not is_hedged(course.decision, first.backend):
            async with aclosing(running):
                async for event in running:
                    yield event
            return

        def second() -> Contender | None:
            candidate = partner(self._decided(order.demand, course.tried | {first.backend.name}))
            if candidate is None or not self._budget.spend():
                return None
            _hedges.add(1, {"backend": first.backend.name})
            return Contender(candidate.backend.name, self._attempted(course, candidate))

        late = late_after(order.demand, first.backend, self.hedging)
        race = Race(Contender(first.backend.name, running))
        async with aclosing(race.run(late, second)) as told:
            async for moment in told:
                yield moment

    async def _attempted(self, course: _Course, candidate: Candidate) -> AsyncGenerator[RunEvent]:
        """Run on one backend, and note in the course when that fails."""
        attempt = course.attempt(candidate)
        try:
            async with aclosing(self._turns.run(attempt)) as events:
                async for event in events:
                    yield event
        except MeshError as error:
            course.fail(attempt, error)
            raise
