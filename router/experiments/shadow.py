"""Shadows: copies of requests that run on another model behind the caller's back.

A copy never delays, fails or charges a caller. It takes none of a backend's slots, waits until nobody else is there, and
gives way as soon as somebody comes; where it costs money, a daily budget of its own pays. When there are too many, or it
waits too long, it is dropped. It has its own deadline, and ends when the router does.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress
from contextvars import Context
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from router.backends.protocol import Loaded, Output, Recalled, Stored
from router.decision import Decision, decide
from router.execution import Execution
from router.experiments.experiment import Arm, Experiment
from router.experiments.spending import Spending
from router.fleet import Member
from router.order import Assignment, Order
from router.runs import CANCELLED, INTERNAL, OK, Run, Verdict
from router.snapshot import BackendView, Snapshot, State
from services.runtime import deadline, telemetry
from services.runtime.errors import MeshError
from services.runtime.identity import Identity, acting_as

MOST = 8  # copies that wait, run or are scored
MOST_RUNNING = 2
PATIENCE_SECONDS = 60.0  # how long a copy waits for an idle backend
GLANCE_SECONDS = 0.05  # how often one looks whether a backend is idle, or whether somebody came
SPAN = {"vmesh.server": "router"}  # a trace of its own begins here, not with a call

Picture = Output | Stored

log = structlog.get_logger()
_copies = telemetry.meter.create_counter(
    "vmesh.router.shadows", description="Copies of requests by what became of them"
)


class Scorer(Protocol):
    """Says how good a picture is."""

    async def score(self, picture: Picture, prompt: str) -> float | None:
        """Return the quality in [0, 1] of a picture that was to show `prompt`; None for what cannot be scored.

        Raises MeshError.
        """


class Verdicts(Protocol):
    """Takes verdicts in; router.performance.Performance is one."""

    async def judge(self, verdict: Verdict, *, shadow: bool = False) -> list[Run]:
        """Write a verdict down and return the runs that it judges. Raises MeshError."""


@dataclass(eq=False)
class Shadows:
    """Runs copies. `scorer` may be None, and nothing is scored then. Closed by `close`."""

    spending: Spending
    verdicts: Verdicts
    scorer: Scorer | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _taken: set[str] = field(default_factory=set)

    def start(self, order: Order, experiment: Experiment, arm: Arm, execution: Execution) -> None:
        """Start a copy of an order on an arm's model; never waits. One too many is dropped.

        So is one that some shadow of the experiment could not serve: they are compared on the same requests.
        """
        copies = [copy_of(order, experiment.id, one) for one in experiment.plan.shadows]
        if len(self._tasks) >= MOST or not all(_decided(one, execution).candidates for one in copies):
            _count("dropped")
            return
        copy = copy_of(order, experiment.id, arm)
        # A context of its own: the caller's deadline, trace and log are none of the copy's.
        task = asyncio.create_task(self._follow(copy, execution), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop every copy, and wait until the last one has."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, copy: Order, execution: Execution) -> None:
        try:
            with acting_as(Identity(copy.tenant, copy.request_id)), telemetry.span("shadow", **SPAN):
                backend = await self._idle(copy, execution)
                if backend is None:
                    _count("dropped")
                    return
                try:
                    pictures = await self._run(copy, backend, execution)
                finally:
                    self._taken.discard(backend.name)
                await self._score(copy, pictures)
        except MeshError as error:
            log.warning("a copy of a request was given up", reason=error.name)
        except Exception as error:  # its text might hold the prompt
            log.error("a copy of a request failed", error=type(error).__name__)

    async def _idle(self, copy: Order, execution: Execution) -> BackendView | None:
        """Wait for a backend of the copy's model with nobody on it, and take it; None when that took too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    for candidate in _decided(copy, execution).candidates:
                        if self._is_free(candidate.backend):
                            self._taken.add(candidate.backend.name)
                            return candidate.backend
                    await asyncio.sleep(GLANCE_SECONDS)
        return None

    def _is_free(self, backend: BackendView) -> bool:
        # A model that would have to be loaded might push out one that callers use.
        return (
            backend.state is State.READY
            and not backend.in_flight
            and not backend.waiting
            and backend.name not in self._taken
            and len(self._taken) < MOST_RUNNING
        )

    async def _run(self, copy: Order, backend: BackendView, execution: Execution) -> Sequence[Picture]:
        """Run a copy, and return what it made: nothing when it had to give way or its budget is spent."""
        usd = backend.usd(copy.demand)
        if backend.paid and not await self.spending.reserve(usd):
            _count("unaffordable")
            return ()
        member = execution.fleet.members.get(backend.name)
        if member is None:  # it was dropped meanwhile
            _count("dropped")
            return ()
        drawing = asyncio.create_task(_draw(copy, backend, member, execution))
        giving_way = False
        try:
            while not (await asyncio.wait({drawing}, timeout=GLANCE_SECONDS))[0]:
                if (
                    _is_wanted(member, backend) and not giving_way
                ):  # once: a second time would cut its end short
                    giving_way = drawing.cancel()
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
        return () if drawing.cancelled() else drawing.result()

    async def _score(self, copy: Order, pictures: Sequence[Picture]) -> None:
        if self.scorer is None:
            return
        for picture in pictures:
            quality = await self.scorer.score(picture, copy.prompt)
            if quality is not None:
                verdict = Verdict(copy.request_id, copy.tenant, time.time(), quality=quality)
                await self.verdicts.judge(verdict, shadow=True)


def copy_of(order: Order, experiment: str, arm: Arm) -> Order:
    """Return the copy of an order that a shadow gets: the same work for its model, under a name of its own.

    The name is the same whenever the request is repeated, so a copy is paid once, too.
    """
    named = hashlib.blake2b("\0".join((experiment, arm.name, order.request_id)).encode(), digest_size=16)
    return replace(
        order,
        request_id=f"shadow-{named.hexdigest()}",
        generation_id="",
        previews=0,
        assignment=Assignment(
            experiment, arm.name, arm.model, order.assignment.unit if order.assignment else ""
        ),
        demand=replace(order.demand, model=arm.model, time_limit=None, tried=frozenset()),
    )


def _decided(copy: Order, execution: Execution) -> Decision:
    """Decide for a copy among the backends of its model."""
    backends = execution.fleet.snapshot().backends
    serving = tuple(one for one in backends if one.model == copy.demand.model)
    return decide(copy.demand, Snapshot(serving), execution.policy)


async def _draw(copy: Order, backend: BackendView, member: Member, execution: Execution) -> Sequence[Picture]:
    """Run a copy beside the fleet's turns, write down how it ended, and return what it made: nothing when it failed.

    Nor when it was made before, and is only answered out of the ledger again.
    """
    clock = asyncio.get_running_loop().time
    began, loading, outcome, recalled = clock(), 0.0, CANCELLED, False
    made: list[Picture] = []
    try:
        with deadline.until(execution.seconds):
            async with aclosing(member.backend.execute(copy.job(backend), execution.seconds)) as events:
                async for event in events:
                    if isinstance(event, Loaded):
                        loading = event.seconds
                    elif isinstance(event, Recalled):
                        recalled = True
                    elif isinstance(event, Output | Stored):
                        made.append(event)
        outcome = OK
    except MeshError as error:
        outcome = error.name
    except Exception as error:  # an adapter's mistake, whose text might hold the prompt
        log.error("a copy of a request failed", backend=backend.name, error=type(error).__name__)
        outcome = INTERNAL
    finally:
        if not recalled:  # else the run that it recalls was noted, and scored
            run = _ended(copy, backend, outcome, max(0.0, clock() - began - loading), loading)
            execution.fleet.learning.observe(run)
            execution.journal.ended(run)
        _count("RECALLED" if recalled else outcome)
    return made if outcome == OK and not recalled else ()


def _ended(copy: Order, backend: BackendView, outcome: str, seconds: float, loading: float) -> Run:
    assignment = copy.assignment
    return Run(
        request_id=copy.request_id,
        generation_id="",
        attempt=1,
        tenant=copy.tenant,
        backend=backend.name,
        model=backend.model,
        prompt_class=copy.demand.prompt_class,
        work=backend.work(copy.demand),
        outcome=outcome,
        seconds=seconds,
        waited=0.0,
        loading=loading,
        beside=0,
        usd=backend.usd(copy.demand) if backend.paid and outcome == OK else 0.0,
        at=time.time(),
        experiment=assignment.experiment if assignment else "",
        arm=assignment.arm if assignment else "",
        shadow=True,
        unit=assignment.unit if assignment else "",
    )


def _is_wanted(member: Member, backend: BackendView) -> bool:
    """Return whether a caller is there, for whom a copy gives way; on a paid backend, once they fill it."""
    admission = member.admission
    return admission.queued > 0 or admission.active >= (backend.concurrency if backend.paid else 1)


def _count(outcome: str) -> None:
    _copies.add(1, {"outcome": outcome})
