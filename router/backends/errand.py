"""What a caller waits for while a paid call is made: how far it is, and whether the caller is still there."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

from router.backends.protocol import Step
from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from services.runtime.errors import MeshError

STEPS_KEPT = 128  # a caller that reads more slowly misses the oldest

MESSAGES = {
    errors_pb2.ERROR_REASON_CANCELLED: "the call was cancelled",
    errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED: "the deadline passed; ask again with more time",
}


class LeftError(Exception):
    """Nobody waits any more: the caller left, or the time was up. `error` is what the caller is told."""

    def __init__(self, error: MeshError) -> None:
        super().__init__(error.message)
        self.error = error


class Errand:
    """One caller's wait, until a moment of the event loop's clock.

    Leaving stops the job at the provider, unless the errand is `patient`: then it only looks at a job that others want.
    `recalled` says that the call it waits for was not made for it.
    """

    def __init__(self, until: float, *, patient: bool = False) -> None:
        self.until = until
        self.patient = patient
        self.recalled = False
        self._left: MeshError | None = None
        self._leaving = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._steps: deque[Step] = deque(maxlen=STEPS_KEPT)
        self._news = asyncio.Event()

    @property
    def seconds(self) -> float:
        """How long the caller still waits, at least 0."""
        return max(0.0, self.until - asyncio.get_running_loop().time())

    def tell(self, step: Step) -> None:
        """Let the caller know a step."""
        self._steps.append(step)
        self._news.set()

    def wake(self) -> None:
        """Let the caller look again."""
        self._news.set()

    async def news(self) -> Iterator[Step]:
        """Wait for something to look at and return the steps since the last look. Raises MeshError DEADLINE_EXCEEDED."""
        try:
            async with asyncio.timeout_at(self.until):
                await self._news.wait()
        except TimeoutError:
            raise self.leave(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED) from None
        self._news.clear()
        steps = list(self._steps)
        self._steps.clear()
        return iter(steps)

    def leave(self, reason: ErrorReason.ValueType) -> MeshError:
        """Wait no more, and return what the caller is told; only the first reason counts."""
        if self._left is None:
            self._left = MeshError(reason, MESSAGES[reason])
            self._leaving.set()
            if self._limit is not None and not self._limit.expired():
                self._limit.reschedule(asyncio.get_running_loop().time())
        return self._left

    def check(self) -> None:
        """Raise LeftError when nobody waits any more."""
        if self._left is not None:
            raise LeftError(self._left)

    async def pause(self, seconds: float) -> None:
        """Wait some seconds, or until the caller leaves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Interrupt the body when the caller leaves or the time is up. Raises LeftError."""
        self.check()
        limit = asyncio.timeout_at(self.until)
        try:
            async with limit:
                self._limit = limit
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise LeftError(self.leave(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED)) from None
        finally:
            self._limit = None
