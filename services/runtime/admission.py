"""Bounded concurrency with a bounded queue: what is full says so at once, and says for how long."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError

SMOOTHING = 0.2  # weight of the newest duration: five calls forget most of what was before

OnWait = Callable[[int, float], None]


@dataclass(eq=False)
class _Waiter:
    turn: asyncio.Future[None]
    on_wait: OnWait | None


@dataclass(eq=False)
class Admission:
    """Lets `running` calls in at one time and `waiting` more wait in order; `seconds` starts the estimate of one call.

    `running` is at least 1. Not thread-safe: it belongs to one event loop.
    """

    running: int
    waiting: int
    seconds: float
    active: int = 0
    _queue: deque[_Waiter] = field(default_factory=deque)

    @property
    def queued(self) -> int:
        """How many calls wait."""
        return len(self._queue)

    def eta(self, position: int) -> float:
        """Return the expected seconds until the call at `position` (from 1) starts."""
        return self.seconds * position / self.running

    def resize(self, running: int) -> None:
        """Let `running` calls in at one time from now on; those that are in above that stay until they are done."""
        self.running = running
        while self.active < running and self._admit_next():
            self.active += 1
        self._tell_positions()  # they stand where they stood, and move at another pace

    def turn_away(self, why: Callable[[], MeshError]) -> None:
        """End the wait of everyone who waits with an error; those that are in stay."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.turn.done():
                waiter.turn.set_exception(why())

    @asynccontextmanager
    async def enter(self, on_wait: OnWait | None = None) -> AsyncIterator[None]:
        """Wait for a turn and hold it.

        `on_wait(position, eta_seconds)` is called when the call starts to wait and each time its position changes.
        Raises MeshError OVERLOADED at once when the queue is full, and what `turn_away` was given while it waits.
        """
        await self._acquire(on_wait)
        started = asyncio.get_running_loop().time()
        try:
            yield
            self.seconds += SMOOTHING * (asyncio.get_running_loop().time() - started - self.seconds)
        finally:
            self._release()

    async def _acquire(self, on_wait: OnWait | None) -> None:
        if self.active < self.running and not self._queue:
            self.active += 1
            return
        position = len(self._queue) + 1
        if position > self.waiting:
            raise self._refusal(position)
        waiter = _Waiter(asyncio.get_running_loop().create_future(), on_wait)
        self._queue.append(waiter)
        if on_wait is not None:
            on_wait(position, self.eta(position))
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                if waiter.turn.exception() is None:  # else it was turned away, and has no slot
                    self._release()  # the turn had been given; hand it on
            elif waiter in self._queue:  # else a release between the cancel and now has passed it over
                self._queue.remove(waiter)
                self._tell_positions()
            raise

    def _release(self) -> None:
        if self.active > self.running or not self._admit_next():
            self.active -= 1  # else the slot passed from hand to hand, and `active` stays

    def _admit_next(self) -> bool:
        """Give the next one that still waits its turn; return whether there was one."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.turn.done():
                waiter.turn.set_result(None)
                self._tell_positions()
                return True
        return False

    def _tell_positions(self) -> None:
        for position, waiter in enumerate(self._queue, start=1):
            if waiter.on_wait is not None:
                waiter.on_wait(position, self.eta(position))

    def _refusal(self, position: int) -> MeshError:
        wait = self.eta(position)
        return MeshError(
            errors_pb2.ERROR_REASON_OVERLOADED,
            f"full: {self.active} running and {len(self._queue)} waiting; try again in {wait:.0f} s",
            retry_after=wait,
            estimated_wait=wait,
            queue_position=position,
        )
