"""Ending the server process when its memory does not come back; whoever keeps it running starts it afresh."""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from services.models.cache.loading import Loader, until
from services.models.cache.memory import MEBIBYTE, Measured

log = structlog.get_logger()


@dataclass(eq=False)
class Recycler:
    """Judges whether the server gave memory back and ends it when it did not.

    `growth` is how many bytes the process itself, without its workers, may gain over what it held when first seen.
    """

    loader: Loader
    growth: int
    _first: dict[int, int] = field(default_factory=dict)

    def note(self, measured: Measured, loaded: Mapping[str, int]) -> None:
        """Remember what a server that was not seen before begins with, apart from the models inside it."""
        if measured.pid not in self._first:
            self._first = {measured.pid: apart(measured, loaded)}

    def reason(self, measured: Measured | None, loaded: Mapping[str, int]) -> str:
        """Return why the server should be recycled; empty when it need not be, or cannot be seen.

        `loaded` are the bytes of the models that are to be in memory: those without workers are in the server itself.
        """
        if measured is None:
            return ""
        now = apart(measured, loaded)
        gained = now - self._first.get(measured.pid, now)
        if gained <= self.growth:
            return ""
        return f"its own memory has grown by {gained // MEBIBYTE} MiB"

    async def restart(self, timeout: float) -> bool:
        """End the server and wait until another one answers; tells whether it did. False where it cannot be reached."""
        pid = await asyncio.to_thread(self.loader.meter.pid)
        if pid is None:
            log.warning("Triton cannot be recycled: its process is not known (VMESH_MODELS_TRITON_PID_FILE)")
            return False

        async def another_answers() -> bool:
            new = await asyncio.to_thread(self.loader.meter.pid)
            return new not in (None, pid) and await self.loader.ready() is not None

        try:
            os.kill(pid, signal.SIGTERM)
            async with asyncio.timeout(timeout):
                await until(another_answers)
        except (OSError, TimeoutError) as error:
            log.error("Triton was not recycled", pid=pid, error=str(error) or type(error).__name__)
            return False
        return True


def apart(measured: Measured, loaded: Mapping[str, int]) -> int:
    """Return what the server process holds apart from the models that have no workers and so are inside it."""
    return measured.server - sum(size for name, size in loaded.items() if name not in measured.models)
