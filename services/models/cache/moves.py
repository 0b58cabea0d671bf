"""Models on the move: into memory, out of it, or both when memory ran out; and the server process, when it keeps memory.

A model that is on the move has one task, which everybody who wants the model waits for: a hundred callers are one
loading. The task is nobody's but ours, so a caller that goes away neither stops it nor waits for its end.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from contextvars import Context
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from services.models.cache import figures, refusals
from services.models.cache.ledger import Ledger, Phase, Resident
from services.models.cache.loading import Loader
from services.models.cache.memory import Measured
from services.models.cache.plan import Fits
from services.models.cache.recycling import Recycler
from services.runtime.errors import MeshError

log = structlog.get_logger()

Task = asyncio.Task[None]

LIFT_SECONDS = 5.0  # between two attempts to load a pinned model that is gone: one takes up to some seconds


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: for a loading with its warm-up, an unloading, the work on a model to end, Triton to come back, a look."""

    load: float
    unload: float
    drain: float
    restart: float
    poll: float


@dataclass(eq=False)
class Moves:
    """Does to Triton what the ledger allows. One event loop; `end` cancels what is under way.

    Where `manage` is false Triton alone decides what is loaded, and nothing moves.
    """

    ledger: Ledger
    loader: Loader
    recycler: Recycler
    times: Times
    manage: bool = True
    recycling: Task | None = None
    _tasks: dict[str, Task] = field(default_factory=dict)
    _working: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, name: str) -> Task | None:
        """Return the task that moves a model, unless it has ended and only its tidying up is to come."""
        task = self._tasks.get(name)
        return None if task is None or task.done() else task

    async def settle(self, name: str) -> None:
        """Wait for a model's move to end; raises the MeshError that it failed with, to each waiter one of its own."""
        task = self.of(name)
        if task is None:
            return
        try:
            await asyncio.shield(task)
        except MeshError as error:
            raise replace(error) from error

    def load(self, name: str) -> None:
        """Begin to load a model that is UNLOADED; raises MeshError when there is no room for it, and then moves nothing."""
        resident = self.ledger[name]
        if not self.manage:
            raise refusals.not_loaded_here(name)
        plan = self.ledger.plan(name)
        if not isinstance(plan, Fits):
            raise refusals.does_not_fit(name, resident.size, self.ledger.budget, plan)
        self._evict(plan.evict)
        leaving = [task for other, task in self._tasks.items() if not self.ledger[other].holds]
        self._start(name, Phase.LOADING, self._load(resident, leaving))

    def retire(self, name: str) -> None:
        """Begin to unload a model that is READY once nobody uses it; it stays READY when that takes too long."""
        self._start(name, Phase.UNLOADING, self._retire(self.ledger[name]))

    def renew(self, name: str) -> None:
        """Begin to unload a model that is READY and to load it afresh."""
        figures.quarantines.add(1, {"model": name})
        self._start(name, Phase.QUARANTINED, self._renew(self.ledger[name]))

    def work_begins(self) -> None:
        """Count one more who works under a lease: the server process is not recycled meanwhile."""
        self._working += 1

    def work_ends(self) -> None:
        """Count one less."""
        self._working -= 1
        self._released.set()

    def released(self) -> None:
        """Take note that somebody who used a model does no more."""
        self._released.set()

    async def look(self) -> None:
        """Compare the books with what Triton has loaded and with what its processes hold."""
        asked_at = time.time()
        ready = await self.loader.ready()
        if ready is None:
            return
        for name in self.ledger.reconcile(ready, asked_at, time.time()):
            log.warning("a model is not loaded any more", model=name)
            if self._is_wanted(name) and self.manage:
                self._load_again(name)
        for name in self.ledger.fallen(asked_at - LIFT_SECONDS) if self.manage else ():
            if self.of(name) is None:
                self._load_again(name)
        measured = await self._measure()
        if measured is not None and self.manage:
            await self._unload_what_is_left(measured.models, asked_at)

    async def end(self) -> None:
        """Cancel what is under way; Triton is left as it is."""
        tasks = [task for task in (self.recycling, *self._tasks.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The moves

    def _start(self, name: str, phase: Phase, move: Coroutine[Any, Any, None]) -> None:
        self.ledger.move(name, phase, time.time())
        task = self._tasks[name] = spawn(move)
        task.add_done_callback(lambda _: self._tasks.pop(name) if self._tasks.get(name) is task else None)
        self._gauge()

    def _evict(self, names: tuple[str, ...]) -> None:
        for name in names:
            log.info("a model makes room", model=name)
            figures.evictions.add(1, {"model": name})
            self._start(name, Phase.UNLOADING, self._unload(self.ledger[name]))

    def _is_wanted(self, name: str) -> bool:
        """Whether somebody relies on a model: under a lease, or because it is pinned and needs none."""
        return self.ledger[name].leases > 0 or self.ledger[name].pinned

    def _load_again(self, name: str) -> None:
        try:
            self.load(name)
        except MeshError as error:
            log.warning("a model that is relied on is not loaded again", model=name, reason=error.name)

    async def _load(self, resident: Resident, leaving: list[Task]) -> None:
        """Get a model that is LOADING ready, or back to UNLOADED with the MeshError that tells why."""
        started, outcome = time.perf_counter(), "CANCELLED"
        # All pinned models together are loaded in that time whenever Triton starts.
        limit = self.times.restart if resident.pinned else self.times.load
        try:
            async with asyncio.timeout(limit):
                if leaving:  # each ends within its own time
                    await asyncio.wait(leaving)
                if self.recycling is not None:
                    await asyncio.shield(self.recycling)
                await self.loader.load(resident.name, limit)
            outcome = "OK"
        except TimeoutError:
            outcome = "DEADLINE_EXCEEDED"
            if resident.pinned and self.recycling is None:
                # A worker that is killed as it begins can leave Triton loading for ever (seen with 2.51).
                self.recycling = spawn(self._recycle(f"{resident.name} was not loaded in {limit:g} s"))
            raise refusals.too_slow(resident.name, limit) from None
        except MeshError as error:
            outcome = error.name
            log.warning("a model was not loaded", model=resident.name, reason=error.name, error=error.message)
            raise
        finally:
            phase = Phase.READY if outcome == "OK" else Phase.UNLOADED
            self.ledger.move(resident.name, phase, time.time())
            labels = {"model": resident.name, "outcome": outcome}
            figures.load_seconds.record(time.perf_counter() - started, labels)
        await self._measure()

    async def _retire(self, resident: Resident) -> None:
        await self._until_free(lambda: resident.leases)
        if resident.leases:
            self.ledger.move(resident.name, Phase.READY, time.time())
        else:
            await self._unload(resident)

    async def _unload(self, resident: Resident) -> None:
        """Get a model that is UNLOADING out of memory; whatever happens, the books say what is so."""
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
        measured = await self.loader.measure()
        stays = stays or self.recycler.reason(measured, self.ledger.loaded())
        if stays and self.recycling is None:
            self.recycling = spawn(self._recycle(stays))
        return False

    async def _recycle(self, reason: str) -> None:
        log.warning("Triton is recycled", reason=reason, leases=self._working)
        try:
            await self._until_free(lambda: self._working)
            if await self.recycler.restart(self.times.restart):
                figures.recycles.add(1)
            await self.look()  # before anybody comes for a lease on what is gone
        finally:
            self.recycling = None

    async def _until_free(self, in_use: Callable[[], int]) -> None:
        """Wait until nobody uses something, at most for as long as work may take to end."""
        try:
            async with asyncio.timeout(self.times.drain):
                while in_use():
                    self._released.clear()
                    await self._released.wait()
        except TimeoutError:
            pass

    async def _unload_what_is_left(self, working: Collection[str], asked_at: float) -> None:
        """Unload models whose build was removed: Triton tells of them no more, and their processes live on."""
        left = [
            one.name
            for one in self.ledger
            if one.name in working and one.phase is Phase.UNLOADED and one.moved_at < asked_at
            if not one.leases and not one.pinned
        ]
        if not left:
            return
        try:
            known = await self.loader.triton.index()
            for name in left:
                if name not in known and self.of(name) is None:
                    log.warning("a model without a build is unloaded", model=name)
                    await self.loader.triton.unload(name, self.times.unload)
        except MeshError as error:
            log.warning("a model without a build was not unloaded", reason=error.name)

    async def _measure(self) -> Measured | None:
        measured = await self.loader.measure()
        if measured is not None:
            self.recycler.note(measured, self.ledger.loaded())
            for name, held in measured.models.items():
                if name in self.ledger.residents and self.ledger[name].phase is Phase.READY:
                    self.ledger[name].measured = held
        if self.manage:
            self._evict(self.ledger.surplus())
        self._gauge()
        return measured

    def _gauge(self) -> None:
        figures.memory_used.set(self.ledger.used)
        figures.memory_budget.set(self.ledger.budget)


def spawn(work: Coroutine[Any, Any, None]) -> Task:
    """Start work that is nobody's: without the deadline, the trace and the identity of who gave rise to it."""
    task = asyncio.get_running_loop().create_task(work, context=Context())
    task.add_done_callback(
        lambda done: done.cancelled() or done.exception()
    )  # taken note of, if nobody waits
    return task
