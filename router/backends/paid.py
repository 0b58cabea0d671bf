"""A backend of a paid provider: every call is in the ledger before it is made, and none is made twice.

A request that comes again finds its call there: what was bought is delivered, what is under way is waited for, and what
was interrupted is looked up at the provider. A call goes on when its caller leaves, in a task of the backend's own, until
it is known what became of it. When the process dies, the next one finds the call in the ledger (docs/13-ledger.md).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

from router.backends.errand import Errand, LeftError
from router.backends.protocol import BackendEvent, Capabilities, Job, Recalled
from router.backends.provider import Provider
from router.backends.settling import Made, Settler, unknown
from router.backends.storing import refresh
from router.entries import BackendEntry
from router.ledger import Claim, Ledger
from router.paid_calls import Call, CallState
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from services.runtime import identity
from services.runtime.blobs import BlobStore
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

POLL_SECONDS = 0.5  # between two looks at a call that another task or replica carries out
CLOSE_SECONDS = (
    20.0  # for calls under way, when the backend closes; what is cut off then stands in the ledger
)
LEFT_ALONE = 2  # tasks for each request that may run at one time: those whose callers left go on for a while

RESOLVE_EVERY_SECONDS = 60.0
RESOLVED_AT_ONCE = 16
RESOLVE_SECONDS = 30.0
RESOLVED_WITHIN_SECONDS = 7 * 86_400.0  # what no provider could tell in a week is left to the operator

CLEARED_AWAY = frozenset({errors_pb2.ERROR_REASON_NOT_FOUND, errors_pb2.ERROR_REASON_MEDIA_INVALID})

log = structlog.get_logger()

T = TypeVar("T")


class PaidBackend:
    """One model of a paid provider. Provider, ledger and blobs stay the caller's to close, after this.

    While it is open (`async with`), it also finds out what became of calls that nobody carries out any more.
    """

    def __init__(self, entry: BackendEntry, provider: Provider, ledger: Ledger, blobs: BlobStore) -> None:
        self._entry = entry
        self._provider = provider
        self._ledger = ledger
        self._blobs = blobs
        self._settler = Settler(provider, ledger, blobs)
        self._tasks: set[asyncio.Task[Made]] = set()
        self._errands: set[Errand] = set()
        self._resolving: asyncio.Task[None] | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the provider's model can do."""
        return self._provider.capabilities

    async def probe(self) -> State:
        """Return the provider's state; asks nobody."""
        return self._provider.state()

    async def execute(self, job: Job, timeout: float) -> AsyncGenerator[BackendEvent, None]:
        """Return what the request's paid call brought, and make it only where there is none; see `Backend.execute`.

        Raises MeshError OUTCOME_UNKNOWN, too, where only an operator can tell what became of the call: another provider
        must not be paid for the request then.
        """
        if len(self._tasks) >= self._entry.concurrency * LEFT_ALONE:
            message = f"{self._entry.name} has too many calls under way; try again shortly"
            raise MeshError(errors_pb2.ERROR_REASON_OVERLOADED, message, retry_after=DEFAULT_RETRY_SECONDS)
        errand = Errand(asyncio.get_running_loop().time() + timeout)
        task = self._start(errand, self._serve(errand, identity.current().tenant, job))
        try:
            while not task.done():
                for step in await errand.news():
                    yield step
            if task.cancelled():
                reason = errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
                raise MeshError(reason, f"{self._entry.name} was closed; try again shortly")
            made = task.result()
            if errand.recalled:
                yield Recalled()
            for stored in made:
                yield stored
        except MeshError:
            if errand.recalled:
                yield Recalled()
            raise
        finally:
            errand.leave(errors_pb2.ERROR_REASON_CANCELLED)

    async def resolve(self) -> None:
        """Find out what became of calls that nobody carries out any more, so that what was paid for is stored."""
        name, clock = self._entry.name, asyncio.get_running_loop().time
        await self._ledger.forget(name)
        open_calls = await self._ledger.unresolved(
            name, within=RESOLVED_WITHIN_SECONDS, limit=RESOLVED_AT_ONCE
        )
        for call in open_calls:
            claim = await self._ledger.take(call)
            if claim is not None:
                errand = Errand(clock() + RESOLVE_SECONDS, patient=True)
                with suppress(MeshError, LeftError):
                    await self._holding(claim, partial(self._settler.look, errand, claim))

    async def close(self) -> None:
        """Have calls under way stopped at the provider or brought to their end, for at most `CLOSE_SECONDS`."""
        if self._resolving is not None:
            self._resolving.cancel()
            await asyncio.gather(self._resolving, return_exceptions=True)
        for errand in self._errands:
            errand.leave(errors_pb2.ERROR_REASON_CANCELLED)
        if tasks := set(self._tasks):
            _, late = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._resolving = asyncio.create_task(self._resolve_again_and_again())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _resolve_again_and_again(self) -> None:
        while True:
            try:
                await self.resolve()
            except Exception as error:
                log.warning("open paid calls were not looked at", backend=self._entry.name, error=repr(error))
            await asyncio.sleep(RESOLVE_EVERY_SECONDS)

    def _start(self, errand: Errand, work: Coroutine[Any, Any, Made]) -> asyncio.Task[Made]:
        """Run work in a task that outlives its caller."""

        def ended(task: asyncio.Task[Made]) -> None:
            self._tasks.discard(task)
            self._errands.discard(errand)
            errand.wake()
            if not task.cancelled() and (error := task.exception()) and not isinstance(error, MeshError):
                log.error("a paid call failed in an unknown way", exc_info=error)

        task = asyncio.create_task(work)
        self._tasks.add(task)
        self._errands.add(errand)
        task.add_done_callback(ended)
        return task

    async def _serve(self, errand: Errand, tenant: str, job: Job) -> Made:
        try:
            while True:
                errand.check()
                made = await self._advance(errand, tenant, job)
                if made is not None:
                    return made
        except LeftError as left:
            raise left.error from None

    async def _advance(self, errand: Errand, tenant: str, job: Job) -> Made | None:
        """Do what a request's last call asks for; None when it has to be looked at again."""
        call = await _asked(self._ledger.newest(tenant, job.request_id))
        errand.recalled = call is not None and call.state is not CallState.FAILED
        if call is None or call.state is CallState.FAILED:
            claim = await self._open(tenant, job, call)
            if claim is None:
                return None
            return await self._holding(claim, partial(self._settler.buy, errand, claim, job))
        if call.state is CallState.SUCCEEDED:
            return await self._delivered(call)
        if call.held:
            await errand.pause(POLL_SECONDS)
            return None
        if call.backend != self._entry.name:  # its own backend looks it up
            raise unknown(call)
        claim = await _asked(self._ledger.take(call))
        if claim is None:
            return None
        return await self._holding(claim, partial(self._settler.look, errand, claim))

    async def _open(self, tenant: str, job: Job, last: Call | None) -> Claim | None:
        seeds = job.seeds if self.capabilities.seeds else (-1,) * len(job.seeds)
        attempt = 1 if last is None else last.attempt + 1
        usd = self._entry.pricing().usd(job.size, len(job.seeds), job.tier, job.duration)
        return await _asked(self._ledger.open(tenant, job.request_id, attempt, self._entry.name, seeds, usd))

    async def _delivered(self, call: Call) -> Made:
        try:
            return tuple([await refresh(stored, self._blobs) for stored in call.media])
        except MeshError as error:
            if error.reason not in CLEARED_AWAY:
                raise
            message = (
                f"what {call.backend} made for this request was cleared away; ask under another request_id"
            )
            raise MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, message) from error

    async def _holding(self, claim: Claim, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with self._ledger.holding(claim):
                return await work()
        except TimeoutError:
            log.error(
                "a paid call could not be held", backend=claim.call.backend, reference=claim.call.reference
            )
            raise unknown(claim.call) from None


async def _asked(question: Awaitable[T]) -> T:
    """Return what the ledger answers; without one nothing is bought. Raises MeshError MODEL_UNAVAILABLE."""
    try:
        return await question
    except MeshError as error:
        message = (
            "the ledger of paid calls cannot be reached, and nothing is bought without it; try again shortly"
        )
        reason = errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
        raise MeshError(reason, message, retry_after=DEFAULT_RETRY_SECONDS) from error
