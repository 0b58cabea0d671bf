"""Experiments at work: requests are split between arms, shadows get their copies, and results end what is over.

Nobody waits for a table: splitting looks at what was read some seconds ago. Every replica evaluates; the first one to
say how an experiment ended is believed.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from router.configuration import ConfigurationError
from router.demand import Modality
from router.execution import Execution
from router.experiments.assignment import assign, is_copied, unit_hash, unit_key
from router.experiments.experiment import Experiment, Plan, State, Unit
from router.experiments.outcome import judge
from router.experiments.shadow import Shadows
from router.experiments.store import ExperimentStore, OtherPlanError
from router.experiments.tally import Tally
from router.order import Assignment, Order
from services.runtime.repeating import repeating

log = structlog.get_logger()

Served = frozenset[tuple[str, Modality]]


class Results(Protocol):
    """What the requests of experiments came to; router.performance.Performance is one."""

    async def of_experiment(self, experiment: str, unit: Unit) -> Mapping[str, Tally]:
        """Return what the requests of each arm came to. Raises MeshError DEPENDENCY_UNAVAILABLE."""


@dataclass(eq=False)
class Experiments:
    """The splitter of `router.hooks`. `served` tells which models there are, and what they make."""

    store: ExperimentStore
    results: Results
    shadows: Shadows
    served: Callable[[], Served]
    clock: Callable[[], float] = time.time
    _running: tuple[Experiment, ...] = ()
    _known: Served = field(default=frozenset())

    def split(self, order: Order) -> Assignment | None:
        """Return the arm of an order: of the oldest experiment whose models all make what it asks for, if any does.

        One that names a model is never split; a copy names its arm's.
        """
        if order.demand.model:
            return None
        now = self.clock()
        for experiment in self._running:
            plan = experiment.plan
            if now < experiment.expires_at and self._makes(plan, order.demand.modality):
                unit = unit_key(plan.unit, order.tenant, order.user, order.request_id)
                arm = assign(experiment.id, unit, plan.arms)
                others = frozenset(one.model for one in plan.arms if not one.shadow) - {arm.model}
                return Assignment(experiment.id, arm.name, arm.model, unit_hash(experiment.id, unit), others)
        return None

    def mirrored(self, order: Order, execution: Execution) -> None:
        """Start the copies that shadows get of an order of the control; never waits."""
        assignment = order.assignment
        if assignment is None:
            return
        for experiment in self._running:
            if experiment.id == assignment.experiment and assignment.arm == experiment.plan.control.name:
                for arm in experiment.plan.shadows:
                    if is_copied(experiment.id, order.request_id, arm):
                        self.shadows.start(order, experiment, arm, execution)

    async def declare(self, plans: Mapping[str, Plan]) -> None:
        """Start the experiments of a file, by id, or give running ones their new shares.

        Raises ConfigurationError for one that runs and compares something else, MeshError as the store does.
        """
        for name, plan in plans.items():
            try:
                await self.store.put(name, plan)
            except OtherPlanError:
                message = f"experiments: {name} runs already with other arms, unit or metric; take another id for this one"
                raise ConfigurationError(message) from None

    async def create(self, plan: Plan, request_id: str) -> Experiment:
        """Start an experiment; here it splits at once, in other replicas some seconds later. Raises as the store does."""
        created = await self.store.create(plan, request_id)
        await self.read()
        return created

    async def stop(self, experiment_id: str) -> Experiment | None:
        """End an experiment; None when there is none of this id. Raises as the store does."""
        found = await self.store.get(experiment_id)
        if found is None:
            return None
        stopped = await self.store.stop(experiment_id, await self.results_of(found))
        await self.read()
        return stopped

    async def results_of(self, experiment: Experiment) -> Mapping[str, Tally]:
        """Return what each arm's requests came to: by now, or when it ended. Raises MeshError DEPENDENCY_UNAVAILABLE."""
        if experiment.results is not None:
            return experiment.results
        return await self.results.of_experiment(experiment.id, experiment.plan.unit)

    async def read(self) -> None:
        """Take in which experiments run and which models there are. Raises MeshError DEPENDENCY_UNAVAILABLE."""
        self._running = tuple(await self.store.running())
        self._known = self.served()

    async def evaluate(self) -> None:
        """Look at the results of every running experiment, and end those that are over. Raises as `read` does."""
        await self.read()
        for experiment in self._running:
            tallies = await self.results_of(experiment)
            judged = judge(experiment, tallies, self.clock())
            if judged == experiment:
                continue
            settled = await self.store.settle(judged)
            if settled.state is not State.RUNNING:
                log.info(
                    "experiment over",
                    experiment=settled.id,
                    state=settled.state,
                    reason=settled.reason,
                    winner=settled.winner,
                )
        await self.read()

    def _makes(self, plan: Plan, modality: Modality) -> bool:
        return all((arm.model, modality) in self._known for arm in plan.arms if not arm.shadow)


@asynccontextmanager
async def experimenting(experiments: Experiments, interval: float) -> AsyncIterator[None]:
    """Evaluate every `interval` seconds while the body runs; it starts when running experiments are known.

    Copies that still run at its end are stopped. Raises MeshError DEPENDENCY_UNAVAILABLE at the start.
    """
    await experiments.read()
    try:
        async with repeating(experiments.evaluate, interval, "experiments could not be evaluated"):
            yield
    finally:
        await experiments.shadows.close()
