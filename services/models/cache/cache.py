"""The cache as its callers see it: leases, and what is asked of models by name."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from services.models.cache import figures, refusals
from services.models.cache.ledger import Ledger, Phase
from services.models.cache.moves import Moves, Task, spawn
from services.runtime.errors import MeshError

log = structlog.get_logger()


@dataclass(eq=False)
class Cache:
    """Gives leases on models. An async context manager that keeps its books true while its body runs.

    `absent` tells what to do about a model that Triton does not know; it may look at the disk.
    """

    ledger: Ledger
    moves: Moves
    absent: Callable[[str], MeshError]

    async def __aenter__(self) -> Self:
        await self.moves.look()
        self._asked = asyncio.Event()
        self._watching: Task = spawn(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self.moves.end()

    async def use(self, name: str, lease: AsyncExitStack) -> AsyncGenerator[Phase]:
        """Take a lease on a model and on those it calls; yields its phases, READY last. Closing `lease` gives it back.

        Raises MeshError as `UseModel` says.
        """
        for one in self._needed(name):
            async for phase in self._acquire(one, lease):
                if one == name:
                    yield phase
        self.moves.work_begins()
        lease.callback(self.moves.work_ends)
        yield Phase.READY

    async def load(self, name: str) -> None:
        """Load a model and those it calls. Raises MeshError as `LoadModel` says."""
        async with AsyncExitStack() as lease:
            async for _ in self.use(name, lease):
                pass

    async def unload(self, name: str) -> None:
        """Unload a model when nobody uses it any more. Raises MeshError as `UnloadModel` says."""
        resident = self.ledger[name]
        if not self.moves.manage:
            raise refusals.not_unloaded_here()
        if resident.pinned:
            raise refusals.pinned(name)
        while resident.phase is not Phase.UNLOADED:
            retiring = resident.phase is Phase.READY
            if retiring:
                self.moves.retire(name)
            await self.moves.settle(name)
            if retiring and resident.phase is Phase.READY:
                raise refusals.in_use(name, resident.leases)

    def report(self, name: str, failure: ErrorReason.ValueType) -> None:
        """Take in what the work under a lease that has just been given back failed with."""
        ran_out = failure == errors_pb2.ERROR_REASON_OUT_OF_MEMORY
        if ran_out and self.moves.manage and self.ledger[name].phase is Phase.READY:
            log.warning("a model ran out of memory and is loaded afresh", model=name)
            self.moves.renew(name)
        else:
            self._asked.set()

    def _needed(self, name: str) -> Iterator[str]:
        """Yield the models that a model calls, each after those that it calls itself, and then the model."""
        for required in self.ledger[name].requires:
            yield from self._needed(required)
        yield name

    async def _acquire(self, name: str, lease: AsyncExitStack) -> AsyncGenerator[Phase]:
        """Wait until a model is READY and count its use; yields the phases that were waited for."""
        resident, labels = self.ledger[name], {"model": name}
        resident.waiting += 1
        figures.waiting.add(1, labels)
        try:
            while self.moves.recycling is not None or resident.phase is not Phase.READY:
                if self.moves.recycling is not None:
                    await asyncio.shield(self.moves.recycling)
                    continue
                if self.moves.of(name) is None:
                    await self._check_known(name)
                if self.moves.of(name) is None and resident.phase is Phase.UNLOADED:
                    self.moves.load(name)
                if resident.phase is not Phase.READY:  # it may have become so while Triton was asked
                    yield resident.phase
                await self.moves.settle(name)
            self.ledger.acquire(name, time.time())
        finally:
            resident.waiting -= 1
            figures.waiting.add(-1, labels)
        figures.running.add(1, labels)
        lease.callback(self._release, name)

    def _release(self, name: str) -> None:
        self.ledger.release(name, time.time())
        figures.running.add(-1, {"model": name})
        self.moves.released()

    async def _check_known(self, name: str) -> None:
        """Raise what there is to do about a model that Triton does not know; without Triton nothing is known."""
        try:
            known = await self.moves.loader.triton.index()
        except MeshError:
            return
        if name not in known:
            raise await asyncio.to_thread(self.absent, name)

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.moves.times.poll):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                await self.moves.look()
            except Exception:  # the next look may go well; without any the books would grow old in silence
                log.exception("the models in memory could not be looked at")
