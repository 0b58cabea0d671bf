"""Runs a request: on the best backend, and on the next one when that fails before it drew anything.

A deadline that the forecast cannot meet does not stop a request: the forecast is one smoothed figure, and too coarse to
refuse work on.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace

import structlog

from router.backends.protocol import Job, Loaded, Output, Preview, Step, Stored
from router.decision import Candidate, Decision, Policy, decide, pick
from router.demand import Demand
from router.explanation import reasons
from router.fleet import Fleet, Member
from router.refusals import alternatives, check_model, refused
from router.runs import OK, Run
from router.snapshot import BackendView
from scrollintel.visual.v1 import errors_pb2
from services.runtime import telemetry
from services.runtime.deadline import budget
from services.runtime.errors import MeshError

# Failures that another backend may not have. The rest (the deadline, the caller's own mistake) would only repeat.
MOVES_ON = frozenset(
    {
        errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
        errors_pb2.ERROR_REASON_MODEL_FAILED,
        errors_pb2.ERROR_REASON_OUT_OF_MEMORY,
        errors_pb2.ERROR_REASON_OVERLOADED,
    }
)

log = structlog.get_logger()
_runs = telemetry.meter.create_counter("vmesh.router.runs", description="Runs on a backend by how they ended")


@dataclass(frozen=True, slots=True)
class Order:
    """A request to run: what it demands, what to draw, and at how many steps of the run to show previews (0 is none)."""

    demand: Demand
    request_id: str
    prompt: str
    negative_prompt: str
    seed: int
    previews: int = 0

    def job(self, backend: BackendView) -> Job:
        """Return the work this order is for one backend, with its defaults filled in; image i has the seed + i."""
        steps = backend.steps(self.demand)
        return Job(
            request_id=self.request_id,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt if backend.negative_prompts else "",
            seeds=tuple(self.seed + index for index in range(self.demand.images)),
            steps=steps,
            guidance_scale=backend.guidance(self.demand),
            size=backend.size(self.demand),
            preview_every=math.ceil(steps / (self.previews + 1)) if self.previews else 0,
        )


@dataclass(frozen=True, slots=True)
class Routed:
    """A backend was chosen, why in words, and who else was considered."""

    chosen: Candidate
    decision: Decision
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class Fallback:
    """Backend `failed` failed, why in words for the caller, and backend `next` goes on from the first step."""

    failed: str
    next: str
    reason: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, and what it was drawn with."""

    output: Output
    model: str
    job: Job


Event = Routed | Loaded | Step | Preview | Fallback | Drawn | Stored


@dataclass(frozen=True)
class Execution:
    """Runs orders on a fleet; `seconds` is the most that one backend may take, its queue apart."""

    fleet: Fleet
    policy: Policy
    seconds: float

    def decide(self, demand: Demand) -> Decision:
        """Decide over the fleet as it is now. Raises MeshError MODEL_UNKNOWN."""
        snapshot = self.fleet.snapshot()
        check_model(demand.model, snapshot)
        return decide(demand, snapshot, self.policy)

    async def run(self, order: Order) -> AsyncGenerator[Event]:
        """Run an order: Routed first, then what happens. Closing the generator stops the backend.

        Raises MeshError: what `refusals.refused` tells when nobody can serve, else what the last backend failed with.
        """
        decision = self.decide(order.demand)
        chosen = pick(decision)
        if chosen is None:
            raise refused(decision, self.fleet.snapshot())
        yield Routed(chosen, decision, reasons(decision, chosen, self.policy))
        while True:
            name, drew = chosen.backend.name, False
            try:
                async with aclosing(self._draw(order, chosen.backend)) as events:
                    async for event in events:
                        drew = drew or isinstance(event, Drawn | Stored)
                        yield event
            except MeshError as error:
                failure = error
            else:
                _runs.add(1, {"backend": name, "outcome": "OK"})
                return
            decision = self._failed(decision, name, failure)
            following = pick(decision)
            if drew or following is None or failure.reason not in MOVES_ON:
                failure.alternative_models = alternatives(decision, self.fleet.snapshot())
                raise failure
            yield Fallback(name, following.backend.name, failure.message)
            chosen = following

    def _failed(self, decision: Decision, name: str, failure: MeshError) -> Decision:
        """Note the failure and decide again without the backend that failed."""
        _runs.add(1, {"backend": name, "outcome": failure.name})
        log.warning("run failed", backend=name, reason=failure.name, error=failure.message)
        if failure.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE:
            self.fleet.fail(name)
        demand = decision.demand
        return self.decide(replace(demand, tried=demand.tried | {name}))

    async def _draw(
        self, order: Order, backend: BackendView
    ) -> AsyncGenerator[Loaded | Step | Preview | Drawn | Stored]:
        job = order.job(backend)
        async with AsyncExitStack() as stack:
            member = await self._turn(stack, backend.name)
            clock = asyncio.get_running_loop().time
            started, loading, beside = clock(), 0.0, member.admission.active - 1
            running = member.backend.execute(job, budget(self.seconds))
            async for event in await stack.enter_async_context(aclosing(running)):
                if isinstance(event, Loaded):
                    loading, started = event.seconds, clock()
                if not isinstance(event, Output):
                    yield event
                    continue
                if event.index == 0:
                    taken = clock() - started
                    member.learning.observe(_run(order, backend, taken, loading, beside))
                yield Drawn(event, backend.model, job)

    async def _turn(self, stack: AsyncExitStack, name: str) -> Member:
        try:
            async with asyncio.timeout(budget(self.seconds)):
                return await stack.enter_async_context(self.fleet.turn(name))
        except TimeoutError:
            message = "the request waited for its turn until its time was up; ask again with more time"
            raise MeshError(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, message) from None


def _run(order: Order, backend: BackendView, seconds: float, loading: float, beside: int) -> Run:
    demand = order.demand
    return Run(
        request_id=order.request_id,
        generation_id="",
        attempt=1 + len(demand.tried),
        tenant="",
        backend=backend.name,
        model=backend.model,
        prompt_class=demand.prompt_class,
        work=backend.work(demand),
        outcome=OK,
        seconds=seconds,
        waited=0.0,
        loading=loading,
        beside=beside,
        usd=backend.usd(demand),
        at=time.time(),
    )
