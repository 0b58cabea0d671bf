"""Models into and out of Triton's memory, one at a time and each to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from numpy.typing import NDArray

from scrollintel.visual.v1 import errors_pb2
from services.models.cache import refusals
from services.models.cache.memory import Measured, Meter
from services.models.cache.warmup import warm_up
from services.runtime.errors import MeshError
from services.runtime.triton import TritonClient

READY = "READY"
POLL_SECONDS = 0.1

Feeds = Callable[[str], dict[str, NDArray[Any]] | None]

log = structlog.get_logger()


@dataclass(frozen=True)
class Loader:
    """Loads and unloads over Triton's repository API; `feeds` returns a model's warm-up inputs, or None (blocking).

    `away` is how many seconds Triton may be away before that is a failure: it is started again when it dies.
    """

    triton: TritonClient
    meter: Meter
    feeds: Feeds
    away: float

    async def measure(self) -> Measured | None:
        """Return what is held now, or None when that cannot be seen from here."""
        return await asyncio.to_thread(self.meter.measure)

    async def ready(self) -> set[str] | None:
        """Return what Triton has loaded, or None when it does not answer."""
        try:
            return {name for name, state in (await self.triton.index()).items() if state == READY}
        except MeshError:
            return None

    async def load(self, name: str, timeout: float) -> None:
        """Bring a model in and try it once; raises MeshError and leaves nothing loaded when that fails.

        Waits for a Triton that is away. The caller bounds the whole; `timeout` is each request's.
        """
        feed = await asyncio.to_thread(
            self.feeds, name
        )  # first: one that cannot be read leaves nothing loaded
        for last in (False, True):
            if name in await self._answer():
                return
            try:
                await self.triton.load(name, timeout)
                break
            except MeshError as error:
                if last or error.reason != errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE:
                    raise
                log.warning("Triton went away while it loaded a model", model=name)
        if feed is not None:
            try:
                await warm_up(self.triton, name, feed, timeout)
            except MeshError:
                await self.triton.unload(name, timeout)
                raise

    async def unload(self, name: str, timeout: float) -> None:
        """Take a model out and wait until its processes have ended too.

        Raises MeshError when Triton refuses or is away. The caller bounds the whole.
        """
        await self.triton.unload(name, timeout)

        async def gone() -> bool:
            measured = await self.measure()
            return name not in (await self.ready() or ()) and (
                measured is None or name not in measured.models
            )

        await until(gone)

    async def _answer(self) -> set[str]:
        found: set[str] = set()

        async def answers() -> bool:
            ready = await self.ready()
            found.update(ready or ())
            return ready is not None

        try:
            async with asyncio.timeout(self.away):
                await until(answers)
        except TimeoutError:
            raise refusals.away() from None
        return found


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until it holds; the caller bounds it."""
    while not await holds():  # noqa: ASYNC110 - what other processes do raises no event here
        await asyncio.sleep(POLL_SECONDS)
