"""Two runs of one request: whoever has the first output wins, and the other one is stopped."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from router.backends.protocol import Stored
from router.events import Drawn, Fallback, RunEvent
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError


class _End:
    """A run ended well."""


Told = tuple["Contender", RunEvent | _End | Exception]


@dataclass(eq=False)
class Contender:
    """A run of the request on the backend `name`."""

    name: str
    events: AsyncGenerator[RunEvent]
    task: asyncio.Task[None] = field(init=False)

    def start(self, told: asyncio.Queue[Told]) -> None:
        """Run in a task of its own, which tells what happens for as long as somebody takes it."""
        self.task = asyncio.create_task(self._tell(told))

    async def _tell(self, told: asyncio.Queue[Told]) -> None:
        try:
            async with aclosing(self.events):
                async for event in self.events:
                    await told.put((self, event))
        except asyncio.CancelledError:
            if self.task.cancelling():  # it was stopped, and nobody waits for its last word
                raise
            await told.put((self, closed(self.name)))
        except Exception as error:
            await told.put((self, error))
        else:
            await told.put((self, _End()))


def closed(name: str) -> MeshError:
    """Return the error of a run that was cancelled though nobody asked for it: its connection was closed under it."""
    message = f"{name} was closed while it worked; try again shortly"
    return MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, message, retry_after=DEFAULT_RETRY_SECONDS)


class Race:
    """A run that leads and, once it is late, a rival beside it, of which nothing is told while it does not lead."""

    def __init__(self, first: Contender) -> None:
        self._told: asyncio.Queue[Told] = asyncio.Queue(1)  # so that no run gets ahead of a slow reader
        self._started: list[Contender] = []
        self._leader = first
        self._rival: Contender | None = None

    async def run(
        self, late: float, second: Callable[[], Contender | None]
    ) -> AsyncGenerator[RunEvent | Fallback]:
        """Yield what the leader tells. The rival takes the lead by the first output, or because the leader failed.

        The rival is what `second` gives after `late` seconds without an output; it may give None. Raises what the last
        run to fail raised.
        """
        self._start(self._leader)
        clock = asyncio.get_running_loop().time
        due: float | None = clock() + late
        try:
            while True:
                try:
                    async with asyncio.timeout_at(due):
                        who, what = await self._told.get()
                except TimeoutError:
                    due, rival = None, second()
                    self._rival = self._start(rival) if rival else None
                    continue
                match what:
                    case _ if who not in (self._leader, self._rival):
                        pass  # the last word of one that lost
                    case Exception() if who is self._rival:
                        self._rival = None
                    case MeshError() if self._rival:
                        yield self._hand_over(self._rival, what.message)
                    case Exception():
                        raise what
                    case Drawn() | Stored():
                        due = None
                        if who is self._rival:
                            reason = f"took longer than predicted: nothing came within {late:.1f} s"
                            yield self._hand_over(who, reason)
                        self._drop_rival()
                        yield what
                    case _End():
                        return
                    case _ if who is self._leader:
                        told = clock()
                        yield what
                        due = (
                            None if due is None else due + clock() - told
                        )  # the reader's time is not the run's
        finally:
            for contender in self._started:
                contender.task.cancel()
            await asyncio.gather(*(one.task for one in self._started), return_exceptions=True)

    def _start(self, contender: Contender) -> Contender:
        self._started.append(contender)
        contender.start(self._told)
        return contender

    def _hand_over(self, rival: Contender, reason: str) -> Fallback:
        before, self._leader, self._rival = self._leader, rival, None
        before.task.cancel()
        return Fallback(before.name, rival.name, reason)

    def _drop_rival(self) -> None:
        if self._rival:
            self._rival.task.cancel()
            self._rival = None
