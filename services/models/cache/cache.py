"""The cache itself: callers come for leases, models go in and out of Triton as the ledger allows.

A model that is on the move has one task, which everybody who wants the model waits for: a hundred callers are one
loading. The task is the cache's and not theirs, so a caller that goes away neither stops it nor waits for its end.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import structlog

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from services.models.cache import figures, refusals
from services.models.cache.ledger import Ledger, Phase, Resident
from services.models.cache.loading import Loader
from services.models.cache.plan import Fits
from services.models.cache.recycling import Recycler
from services.runtime.errors import MeshError

log = structlog.get_logger()

Absent = Callable[[str], MeshError]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: for a loading with its warm-up, an unloading, the work on a model to end, Triton to come back, a look."""

    load: float
    unload: float
    drain: float
    restart: float
    poll: float


@dataclass(eq=False)
class Cache:
    """Owns what is loaded. One event loop; an async context manager that looks after itself while its body runs.

    `absent` tells what to do about a model that Triton does not know. Where `manage` is false Triton alone decides what
    is loaded, and leases on that are all there is.
    """

    ledger: Ledger
    loader: Loader
    recycler: Recycler
    times: Times
    absent: Absent
    manage: bool = True
    _moves: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    _recycling: "asyncio.Task[None] | None" = None
    _watching: "asyncio.Task[None] | None" = None
    _open: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        await self.reconcile()
        self._watching = _spawn(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._watching, self._recycling, *self._moves.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def use(self, name: str, lease: AsyncExitStack) -> AsyncGenerator[Phase]:
        """Take a lease on a model and on those it calls; yields its phases, READY last. Closing `lease` gives it back.

        Raises MeshError as `UseModel` says.
        """
        for one in self._needed(name):
            async for phase in self._acquire(one, lease):
                if one == name and phase is not Phase.READY:
                    yield phase
        self._open += 1
        lease.callback(self._close)
        yield Phase.READY

    async def load(self, name: str) -> None:
        """Load a model and those it calls. Raises MeshError as `LoadModel` says."""
        async with AsyncExitStack() as lease:
            async for _ in self.use(name, lease):
                pass

    async def unload(self, name: str) -> None:
        """Unload a model when nobody uses it any more. Raises MeshError as `UnloadModel` says."""
        resident = self.ledger[name]
        if not self.manage:
            raise refusals.not_unloaded_here()
        if resident.pinned:
            raise refusals.pinned(name)
        while resident.phase is not Phase.UNLOADED:
            if resident.phase is Phase.READY:
                self._start(name, Phase.UNLOADING, self._retire(resident))
                await self._settle(name)
                if resident.phase is Phase.READY:
                    raise refusals.in_use(name, resident.leases)
            else:
                await self._settle(name)

    def report(self, name: str, failure: ErrorReason.ValueType) -> None:
        """Take in what the work under a lease that has just been given back failed with."""
        resident = self.ledger[name]
        if self.manage and failure == errors_pb2.ERROR_REASON_OUT_OF_MEMORY and resident.phase is Phase.READY:
            log.warning("a model ran out of memory and is loaded afresh", model=name)
            figures.quarantines.add(1, {"model": name})
            self._start(name, Phase.QUARANTINED, self._renew(resident))
        else:
            self._asked.set()

    async def reconcile(self) -> None:
        """Compare the books with what Triton has loaded and with what its processes hold."""
        asked_at = time.time()
        ready = await self.loader.ready()
        if ready is None:
            return
        for name in self.ledger.reconcile(ready, asked_at, time.time()):
            log.warning("a model is not loaded any more", model=name)
            if self.ledger[name].leases and self.manage:
                self._load_again(name)
        await self._measure()

    # Leases

    def _needed(self, name: str) -> Iterator[str]:
        """Yield the models that a model calls, each after those that it calls itself, and then the model."""
        for required in self.ledger[name].requires:
            yield from self._needed(required)
        yield name

    async def _acquire(self, name: str, lease: AsyncExitStack) -> AsyncGenerator[Phase]:
        resident, labels = self.ledger[name], {"model": name}
        resident.waiting += 1
        figures.waiting.add(1, labels)
        try:
            while self._recycling is not None or resident.phase is not Phase.READY:
                if self._recycling is not None:
                    await asyncio.shield(self._recycling)
                    continue
                if self._moving(name) is None:
                    await self._check_known(name)
                if self._moving(name) is None and resident.phase is Phase.UNLOADED:
                    self._begin_loading(resident)
                yield resident.phase
                await self._settle(name)
            self.ledger.acquire(name, time.time())
        finally:
            resident.waiting -= 1
            figures.waiting.add(-1, labels)
        figures.running.add(1, labels)
        lease.callback(self._release, name)

    def _release(self, name: str) -> None:
        self.ledger.release(name, time.time())
        figures.running.add(-1, {"model": name})
        self._released.set()

    def _close(self) -> None:
        self._open -= 1
        self._released.set()

    async def _check_known(self, name: str) -> None:
        """Raise what there is to do about a model that Triton does not know; without Triton nothing is known."""
        try:
            known = await self.loader.triton.index()
        except MeshError:
            return
        if name not in known:
            raise await asyncio.to_thread(self.absent, name)

    async def _until_free(self, in_use: Callable[[], int]) -> None:
        """Wait until nobody uses something, at most for as long as work may take to end."""
        try:
            async with asyncio.timeout(self.times.drain):
                while in_use():
                    self._released.clear()
                    await self._released.wait()
        except TimeoutError:
            pass

    # Moves: each is a model's one task while it lasts.

    def _start(self, name: str, phase: Phase, move: Coroutine[Any, Any, None]) -> None:
        self.ledger.move(name, phase, time.time())
        task = self._moves[name] = _spawn(move)
        task.add_done_callback(lambda _: self._moves.pop(name) if self._moves.get(name) is task else None)
        self._gauge()

    def _moving(self, name: str) -> "asyncio.Task[None] | None":
        """Return the task that moves a model, unless it has ended and only its tidying up is to come."""
        task = self._moves.get(name)
        return None if task is None or task.done() else task

    async def _settle(self, name: str) -> None:
        """Wait for a model's move to end; raises what it failed with, as each waiter's own."""
        task = self._moving(name)
        if task is None:
            return
        try:
            await asyncio.shield(task)
        except MeshError as error:
            raise replace(error) from error

    def _begin_loading(self, resident: Resident) -> None:
        if not self.manage:
            raise refusals.not_loaded_here(resident.name)
        plan = self.ledger.plan(resident.name)
        if not isinstance(plan, Fits):
            raise refusals.does_not_fit(resident.name, resident.size, self.ledger.budget, plan)
        self._evict(plan.evict)
        leaving = [task for name, task in self._moves.items() if not self.ledger[name].holds]
        self._start(resident.name, Phase.LOADING, self._load(resident, leaving))

    def _evict(self, names: tuple[str, ...]) -> None:
        for name in names:
            log.info("a model makes room", model=name)
            figures.evictions.add(1, {"model": name})
            self._start(name, Phase.UNLOADING, self._unload(self.ledger[name]))

    def _load_again(self, name: str) -> None:
        try:
            self._begin_loading(self.ledger[name])
        except MeshError as error:
            log.warning("a model in use is not loaded again", model=name, reason=error.name)

    async def _load(self, resident: Resident, leaving: "list[asyncio.Task[None]]") -> None:
        """Get a model that is LOADING ready, or back to UNLOADED with the MeshError that tells why."""
        started, outcome = time.perf_counter(), "CANCELLED"
        try:
            async with asyncio.timeout(self.times.load):
                if leaving:  # each ends within its own time
                    await asyncio.wait(leaving)
                if self._recycling is not None:
                    await asyncio.shield(self._recycling)
                await self.loader.load(resident.name, self.times.load)
            outcome = "OK"
        except TimeoutError:
            outcome = "DEADLINE_EXCEEDED"
            raise refusals.too_slow(resident.name, self.times.load) from None
        except MeshError as error:
            outcome = error.name
            log.warning("a model was not loaded", model=resident.name, reason=error.name, error=error.message)
            raise
        finally:
            phase = Phase.READY if outcome == "OK" else Phase.UNLOADED
            self.ledger.move(resident.name, phase, time.time())
            figures.load_seconds.record(
                time.perf_counter() - started, {"model": resident.name, "outcome": outcome}
            )
        await self._measure()

    async def _retire(self, resident: Resident) -> None:
        """Unload a model that is UNLOADING once nobody uses it, or leave it READY."""
        await self._until_free(lambda: resident.leases)
        if resident.leases:
            self.ledger.move(resident.name, Phase.READY, time.time())
        else:
            await self._unload(resident)

    async def _unload(self, resident: Resident) -> None:
        """Get a model that is UNLOADING out of memory; whatever happens, it says what is so."""
        loaded = True
        try:
            loaded = await self._take_out(resident.name)
        finally:
            self.ledger.move(resident.name, Phase.READY if loaded else Phase.UNLOADED, time.time())
            self._gauge()

    async def _renew(self, resident: Resident) -> None:
        """Unload a model that is QUARANTINED, with whoever has not ended their work in time, and load it afresh."""
        following = Phase.UNLOADED
        try:
            await self._until_free(lambda: resident.leases)
            await self._take_out(resident.name)
            following = Phase.LOADING
        finally:
            self.ledger.move(resident.name, following, time.time())
        await self._load(resident, [])

    async def _take_out(self, name: str) -> bool:
        """Unload a model and see that its memory comes back, else recycle the server; returns whether it is still loaded."""
        stays = ""
        try:
            async with asyncio.timeout(self.times.unload):
                await self.loader.unload(name, self.times.unload)
        except TimeoutError:
            stays = f"{name} was not gone {self.times.unload:g} s after its unloading"
        except MeshError as error:
            log.warning("a model was not unloaded", model=name, reason=error.name)
            return name in (await self.loader.ready() or ())
        stays = stays or self.recycler.reason(await self.loader.measure())
        if stays and self._recycling is None:
            self._recycling = _spawn(self._recycle(stays))
        return False

    # The server process

    async def _recycle(self, reason: str) -> None:
        log.warning("Triton is recycled", reason=reason, leases=self._open)
        try:
            await self._until_free(lambda: self._open)
            if await self.recycler.restart(self.times.restart):
                figures.recycles.add(1)
            await self.reconcile()  # before anybody comes for a lease on what is gone
        finally:
            self._recycling = None

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.times.poll):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                await self.reconcile()
            except Exception:  # the next look may go well; without any the books would grow old in silence
                log.exception("the models in memory could not be looked at")

    async def _measure(self) -> None:
        measured = await self.loader.measure()
        if measured is not None:
            self.recycler.note(measured)
            for name, held in measured.models.items():
                if name in self.ledger.residents and self.ledger[name].phase is Phase.READY:
                    self.ledger[name].measured = held
        if self.manage:
            self._evict(self.ledger.surplus())
        self._gauge()

    def _gauge(self) -> None:
        figures.memory_used.set(self.ledger.used)
        figures.memory_budget.set(self.ledger.budget)


def _spawn(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Start work that is the cache's own: without the deadline, the trace and the identity of who gave rise to it."""
    task = asyncio.get_running_loop().create_task(work, context=Context())
    task.add_done_callback(
        lambda done: done.cancelled() or done.exception()
    )  # taken note of, if nobody waits
    return task
