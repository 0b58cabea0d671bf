"""One run of an order on one backend: its turn, the run, the same again where nothing ran, and what is learned of it."""

import asyncio
import itertools
import math
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field

import structlog

from router.backends.protocol import Job, Output, Recalled
from router.breaker import Fault
from router.events import Drawn, RunEvent
from router.fleet import Fleet, Member
from router.hedging import HEDGING, Hedging, overdue_after
from router.hooks import Journal
from router.order import Order
from router.patience import Patience
from router.recovery import Failure
from router.runs import CANCELLED, INTERNAL, OK, Run
from router.snapshot import BackendView, State
from scrollintel.visual.v1 import errors_pb2
from services.runtime import deadline, telemetry
from services.runtime.errors import MeshError

MAY_COST = frozenset({OK, "OUTCOME_UNKNOWN"})  # what a paid run may be charged for

log = structlog.get_logger()
_runs = telemetry.meter.create_counter("vmesh.router.runs", description="Runs on a backend by how they ended")


@dataclass(eq=False, slots=True)
class Attempt:
    """An order on one backend: `others` says whether another one could go on, `numbers` counts the order's runs.

    `began` when the backend had it, `told` when an event of it was told.
    """

    order: Order
    backend: BackendView
    others: bool
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    began: bool = False
    told: bool = False

    def failure(self, error: MeshError) -> Failure:
        """Return what went wrong, as far as it had come."""
        left = deadline.remaining()
        # A call may have all but the margin, so that is what is left when the caller's deadline has ended it.
        left = None if left is None else left - deadline.MARGIN_SECONDS
        return Failure(error, self.backend.paid, self.began, self.told, left)


@dataclass(frozen=True, slots=True)
class Turns:
    """Runs attempts on a fleet; `seconds` is the most that one run may take, its queue apart.

    `hedging` says when a run is late. One that is ended while it is late, by a quicker one, its caller or his deadline, is
    a fault of its backend where others could have served: it may stand still for ever, and its probes would not tell.
    """

    fleet: Fleet
    seconds: float
    journal: Journal
    hedging: Hedging = HEDGING

    async def run(self, attempt: Attempt) -> AsyncGenerator[RunEvent]:
        """Wait for a slot and run there, again where nothing ran and the wait is short. Closing it stops the backend.

        Raises MeshError: what the last run failed with, or why it got no slot.
        """
        clock = asyncio.get_running_loop().time
        asked = clock()
        async with AsyncExitStack() as stack:
            member = await self._turn(stack, attempt.backend.name)
            attempt.began = True
            for again in itertools.count():
                try:
                    async with aclosing(self._once(attempt, member, asked)) as events:
                        async for event in events:
                            attempt.told = True
                            yield event
                    return
                except MeshError as error:
                    wait = attempt.failure(error).wait(again, attempt.others)
                    if wait is None:
                        raise
                asked = clock()
                await asyncio.sleep(wait)  # in its slot, so that no other asks meanwhile

    async def _turn(self, stack: AsyncExitStack, name: str) -> Member:
        try:
            async with asyncio.timeout(deadline.budget(self.seconds)):
                return await stack.enter_async_context(self.fleet.turn(name))
        except TimeoutError:
            message = "the request waited for its turn until its time was up; ask again with more time"
            raise MeshError(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, message) from None

    async def _once(self, attempt: Attempt, member: Member, asked: float) -> AsyncGenerator[RunEvent]:
        limit = deadline.budget(self.seconds)
        job, model = attempt.order.job(attempt.backend, next(attempt.numbers)), attempt.backend.model
        clock = asyncio.get_running_loop().time
        spell, beside = member.breaker.spell, member.admission.active - 1
        began = last = clock()
        patience, outcome, fault, recalled = Patience(), CANCELLED, None, False
        try:
            async with aclosing(member.backend.execute(job, limit)) as running:
                async for event in running:
                    if isinstance(event, Recalled):
                        recalled = True
                        continue
                    last = clock()
                    patience.hear(event)
                    yield Drawn(event, model, job) if isinstance(event, Output) else event
                    patience.resume()
            outcome = OK
        except asyncio.CancelledError:  # while the backend was waited for
            fault = self._overdue(attempt, member, patience)
            raise
        except MeshError as error:
            outcome, last = error.name, clock()
            fault = attempt.failure(error).recovery.fault
            if error.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED:
                fault = fault or self._overdue(attempt, member, patience)
            log.warning("run failed", backend=member.entry.name, reason=outcome, error=error.message)
            raise
        except Exception:  # an adapter's mistake
            outcome, last, fault = INTERNAL, clock(), Fault.FAILED
            raise
        finally:
            seconds = max(0.0, last - began - patience.loading)
            if not recalled:  # else the run that it recalls was noted, and nothing was learned since
                self._ended(attempt, job, outcome, seconds, began - asked, patience.loading, beside)
                if outcome == OK or fault:
                    self.fleet.note(member, fault, spell)

    def _overdue(self, attempt: Attempt, member: Member, patience: Patience) -> Fault | None:
        backend = attempt.backend
        loads = backend.state is State.LOADABLE and not patience.loading  # nobody knows for how long
        if patience.drew or loads or not attempt.others:
            return None
        work, beside = backend.work(attempt.order.demand), max(0, member.admission.active - 1)
        late = overdue_after(work, beside, backend.forecast, self.hedging)
        return Fault.FAILED if patience.seconds > late else None

    def _ended(
        self,
        attempt: Attempt,
        job: Job,
        outcome: str,
        seconds: float,
        waited: float,
        loading: float,
        beside: int,
    ) -> None:
        order, backend = attempt.order, attempt.backend
        usd = backend.usd(order.demand) if backend.paid and outcome in MAY_COST else 0.0
        assignment = order.assignment
        run = Run(
            request_id=order.request_id,
            generation_id=order.generation_id,
            attempt=job.attempt,
            tenant=order.tenant,
            backend=backend.name,
            model=backend.model,
            prompt_class=order.demand.prompt_class,
            work=backend.work(order.demand),
            outcome=outcome,
            seconds=seconds,
            waited=waited,
            loading=loading,
            beside=beside,
            usd=usd if math.isfinite(usd) else 0.0,  # nobody knows its price; the ledger may
            at=time.time(),
            experiment=assignment.experiment if assignment else "",
            arm=assignment.arm if assignment else "",
            unit=assignment.unit if assignment else "",
        )
        _runs.add(1, {"backend": backend.name, "outcome": outcome})
        self.fleet.learning.observe(run)
        self.journal.ended(run)
