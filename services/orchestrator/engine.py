"""Owns every generation that runs: lets it in, runs its pipeline, ends it exactly once, stops it when nobody wants it."""

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field

import structlog
from opentelemetry import context as trace_context

from scrollintel.visual.v1 import errors_pb2, generation_pb2
from scrollintel.visual.v1.events_pb2 import Queued
from scrollintel.visual.v1.generation_pb2 import Completed, Failed, GenerationResult
from services.orchestrator import defaults, faults, pipeline, scores
from services.orchestrator.pipeline import Made
from services.orchestrator.steps import Steps
from services.orchestrator.store import Generation, Store
from services.runtime import deadline, identity, telemetry
from services.runtime.admission import Admission
from services.runtime.errors import MeshError, seconds

# Kept back from a caller's deadline, so that it still receives the terminal event that tells of it.
LEAVE_MARGIN_SECONDS = 0.1

log = structlog.get_logger()
_duration = telemetry.seconds_histogram(
    "vmesh.generation.duration", "From acceptance to the terminal event, by outcome"
)


@dataclass(eq=False)
class Run:
    """A generation at work."""

    generation: Generation
    task: asyncio.Task[Made]
    started: float = field(default_factory=time.monotonic)
    callers: dict[object, float] = field(default_factory=dict)  # when each will have gone, on the clock
    stopped: MeshError | None = None  # why it was cancelled


class Engine:
    """Runs generations on one event loop. `limits` says by kind of spec how many seconds one may take once let in."""

    def __init__(self, steps: Steps, store: Store, admission: Admission, limits: Mapping[str, float]) -> None:
        self._steps = steps
        self._store = store
        self._admission = admission
        self._limits = limits
        self._runs: dict[str, Run] = {}
        self._closing = False

    def start(self, *generations: Generation) -> None:
        """Remember generations and start to work on them; of several all start, or none.

        Raises MeshError DEPENDENCY_UNAVAILABLE when closing, and OVERLOADED when there is not room for several; of one
        alone, `let_in` tells.
        """
        if self._closing:
            raise _stopping()
        if len(generations) > 1:
            self._require_room(len(generations))
        for generation in generations:
            self._start(generation)

    def _start(self, generation: Generation) -> None:
        self._store.add(generation)
        # The work is every caller's, not only the first one's: it takes who asks and the trace, and not the deadline.
        work = self._work(generation, identity.current(), trace_context.get_current())
        task = asyncio.create_task(work, name=generation.id, context=Context())
        self._runs[generation.id] = Run(generation, task)
        task.add_done_callback(lambda _: self._settle(generation.id))

    async def let_in(self, generation: Generation) -> None:
        """Return when the generation was taken. Raises MeshError OVERLOADED when there was no room for it."""
        await generation.decided.wait()
        if generation.refusal is not None:
            raise generation.refusal

    @contextmanager
    def attended(self, generation: Generation) -> Iterator[None]:
        """Count the body as a caller of the generation: the last caller who goes, or is late, stops it."""
        run, caller, loop = self._runs.get(generation.id), object(), asyncio.get_running_loop()
        if run is None:
            yield
            return
        left = deadline.remaining()
        late = None
        run.callers[caller] = math.inf
        if left is not None:
            wait = max(0.0, left - LEAVE_MARGIN_SECONDS)
            run.callers[caller] = time.monotonic() + wait
            error = MeshError(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, "the caller's deadline passed")
            late = loop.call_later(wait, self._leave, run, caller, error)
        try:
            yield
        finally:
            if late is not None:
                late.cancel()
            gone = MeshError(errors_pb2.ERROR_REASON_CANCELLED, "cancelled: the caller closed the stream")
            self._leave(run, caller, gone)

    def cancel(self, generation: Generation) -> None:
        """Stop a generation because its caller asked for it."""
        run = self._runs.get(generation.id)
        if run is not None:
            self._stop(run, MeshError(errors_pb2.ERROR_REASON_CANCELLED, "cancelled on request"))

    async def close(self, grace: float) -> None:
        """Take nothing new, wait up to `grace` seconds for what runs, and end the rest; the second call is harmless."""
        self._closing = True
        tasks = [run.task for run in self._runs.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for run in list(self._runs.values()):
            self._stop(run, _stopping())
        if tasks:
            await asyncio.wait(tasks)

    def _require_room(self, wanted: int) -> None:
        full = self._admission
        arriving = sum(not run.generation.decided.is_set() for run in self._runs.values())
        ahead = full.active + full.queued + arriving
        last = ahead + wanted - full.running  # the place of the last one in the queue
        if last <= full.waiting:
            return
        wait = full.eta(last)
        raise MeshError(
            errors_pb2.ERROR_REASON_OVERLOADED,
            f"full: {full.active} running and {full.queued} waiting, and {wanted} want to be let in together; "
            f"try again in {wait:.0f} s",
            retry_after=wait,
            estimated_wait=wait,
            queue_position=last,
        )

    async def _work(
        self, generation: Generation, who: identity.Identity, trace: trace_context.Context
    ) -> Made:
        trace_context.attach(trace)  # for the whole task, whose context is its own

        def on_wait(position: int, eta: float) -> None:
            generation.tell(Queued(position=position, eta=seconds(eta)))
            generation.decided.set()

        with identity.acting_as(who), telemetry.span("generation", generation=generation.id):
            async with self._admission.enter(on_wait):
                if not generation.decided.is_set():
                    on_wait(0, 0.0)
                generation.state = generation_pb2.GENERATION_STATE_RUNNING
                return await self._limited(generation)

    async def _limited(self, generation: Generation) -> Made:
        limit = self._limits[generation.work.spec.WhichOneof("spec") or "image"]
        try:
            with deadline.until(limit):
                async with asyncio.timeout(limit) as scope:
                    return await pipeline.run(
                        generation.work, self._steps, generation.tell, lambda: self._left(generation.id)
                    )
        except TimeoutError:
            if not scope.expired():
                raise
            message = f"the generation took longer than {limit:g} s, the limit of this server"
            raise MeshError(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, message) from None

    def _left(self, generation_id: str) -> float:
        """Return the seconds until a generation's own limit, or until its last caller will have gone."""
        callers = self._runs[generation_id].callers.values()
        return min(pipeline.time_left(), max(callers, default=math.inf) - time.monotonic())

    def _leave(self, run: Run, caller: object, why: MeshError) -> None:
        if caller not in run.callers:
            return
        del run.callers[caller]
        if run.callers or run.task.done():
            return
        # Nothing was delivered for the request, so the same request may start anew.
        self._store.release_request(run.generation)
        self._stop(run, why)

    def _stop(self, run: Run, why: MeshError) -> None:
        if run.stopped is None and not run.task.done():
            run.stopped = why
            run.task.cancel()

    def _settle(self, generation_id: str) -> None:
        """Record how a generation ended, whatever happened to it: the one place that writes terminal events."""
        run = self._runs.pop(generation_id)
        generation = run.generation
        outcome: Completed | Failed
        try:
            outcome = Completed(result=self._result(run, run.task.result()))
        except asyncio.CancelledError:
            why = run.stopped or MeshError(errors_pb2.ERROR_REASON_CANCELLED, "cancelled")
            outcome = Failed(status=why.status())
        except MeshError as error:
            if not generation.decided.is_set():  # never let in: its caller is told, and nothing is remembered
                self._store.forget(generation)
                generation.refusal = error
                generation.decided.set()
                return
            if (
                error.retry_after is not None
            ):  # told to try again: the same request must not replay the failure
                self._store.release_request(generation)
            outcome = Failed(status=error.status())
        except Exception as error:
            log.error("generation failed unexpectedly", generation=generation_id, exc_info=error)
            self._store.release_request(generation)  # a fault of ours is no answer to keep
            outcome = Failed(status=faults.internal().status())
        generation.end(outcome)
        generation.decided.set()
        state = generation_pb2.GenerationState.Name(generation.state)
        taken = time.monotonic() - run.started
        _duration.record(taken, {"state": state})
        log.info("generation ended", generation=generation_id, state=state, seconds=round(taken, 3))

    def _result(self, run: Run, made: Made) -> GenerationResult:
        generation = run.generation
        return GenerationResult(
            id=generation.id,
            state=generation_pb2.GENERATION_STATE_SUCCEEDED,
            assets=made.assets,
            quality=scores.mean([asset.quality for asset in made.assets]),
            generation_time=seconds(time.monotonic() - run.started),
            cost_usd=made.cost_usd,
            model_used=made.model,
            created_at=generation.created_at,
            provenance=defaults.provenance(generation.spec),
            errors=[error.status() for error in made.errors],
        )


def _stopping() -> MeshError:
    return MeshError(
        errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
        "the server is stopping; send the request again",
        retry_after=1.0,
    )
