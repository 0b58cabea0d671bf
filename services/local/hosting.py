"""One server inside the shared process, in a task of its own."""

import asyncio
from types import TracebackType
from typing import Any, Self

from services.runtime.server import RunningServer, ServerSpec, serve


class Hosted:
    """Runs a server from `__aenter__`, which returns when it is SERVING, to `__aexit__`, which drains it.

    The server lives in its own task from beginning to end, as the task groups and timeouts inside it demand, so any
    number of them can be started at the same time.
    """

    def __init__(self, spec: ServerSpec) -> None:
        self.name = spec.name
        self._spec = spec
        self._started: asyncio.Future[RunningServer] = asyncio.get_running_loop().create_future()
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._live(), name=f"server-{self.name}")
        try:
            # Whichever comes first: the server runs, or its task has ended because it could not.
            first: list[asyncio.Future[Any]] = [self._started, self._task]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()  # it may wait for something that never comes
            await asyncio.gather(self._task, return_exceptions=True)
            raise
        if self._task.done():
            self._started.cancel()
            await self._task
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def address(self) -> str:
        """Where it listens, host and port."""
        return self._started.result().address

    async def _end(self) -> None:
        self._ending.set()
        if self._task:
            await self._task

    async def _live(self) -> None:
        async with serve(self._spec) as running:
            if not self._started.done():
                self._started.set_result(running)
            await self._ending.wait()
