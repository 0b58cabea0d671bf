"""Work in threads that is done in turn, a few at a time, and holds its turn for as long as it goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from services.runtime.admission import Admission
from services.runtime.deadline import budget
from services.runtime.errors import MeshError
from services.runtime.threads import Threads, noted

T = TypeVar("T")

_kept: set[asyncio.Task[None]] = set()  # turns of threads that nobody waits for any more


async def in_turn(
    turns: Admission, seconds: float, work: Callable[[], Awaitable[T]], late: Callable[[], MeshError]
) -> T:
    """Wait for a turn, work in it, and raise what `late` returns when that takes longer than `seconds`.

    Threads cannot be stopped. Who leaves early leaves its turn to the work until that has ended: otherwise callers
    with little time would fill the memory and all threads. Raises MeshError OVERLOADED where too many wait already, and
    DEADLINE_EXCEEDED when the caller's time is over before the work begins.
    """
    async with AsyncExitStack() as turn:
        await turn.enter_async_context(turns.enter())
        limit = budget(seconds)
        task = asyncio.create_task(_held(turn.pop_all(), work))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to read it
    try:
        async with asyncio.timeout(limit) as scope:
            return await asyncio.shield(task)
    except TimeoutError:
        if not scope.expired():
            raise
        raise late() from None
    finally:
        del (
            task
        )  # an error and the task that holds it would hold each other, and with them what was worked on


async def _held(turn: AsyncExitStack, work: Callable[[], Awaitable[T]]) -> T:
    async with turn:
        return await work()


@asynccontextmanager
async def turn_with_threads(turns: Admission) -> AsyncIterator[None]:
    """Wait for a turn and hold it, for work that stops when its caller leaves, but for the threads that it began.

    It is held until those begun with `in_thread` have ended, too; the body's end is not waited with. Raises MeshError
    OVERLOADED where too many wait already.
    """
    async with AsyncExitStack() as turn:
        await turn.enter_async_context(turns.enter())
        with noted() as threads:
            try:
                yield
            finally:
                if threads:
                    task = asyncio.create_task(_keep(turn.pop_all(), threads))
                    _kept.add(task)
                    task.add_done_callback(_kept.discard)


async def _keep(turn: AsyncExitStack, threads: Threads) -> None:
    async with turn:
        while threads:
            await asyncio.wait(threads)
