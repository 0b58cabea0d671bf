"""Work in threads that is done in turn, a few at a time, and holds its turn for as long as it goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
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

    Threads cannot be stopped. Who leaves early leaves its turn to the work until that has ended, and work that ends
    before threads which it began with `in_thread` leaves it to them: otherwise callers with little time would fill the
    memory and all threads. Raises MeshError OVERLOADED where too many wait already, and
    DEADLINE_EXCEEDED when the caller's time is over before the work begins.
    """
    async with AsyncExitStack() as turn:
        await turn.enter_async_context(turns.enter())
        limit = budget(seconds)
        with noted() as threads:
            task = asyncio.create_task(_held(turn.pop_all(), work, threads))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to read it
    try:
        async with asyncio.timeout(limit) as scope:
            return await asyncio.shield(task)
    except TimeoutError:
        if not scope.expired():
            raise
        raise late() from None


async def _held(turn: AsyncExitStack, work: Callable[[], Awaitable[T]], threads: Threads) -> T:
    async with turn:
        try:
            return await work()
        finally:
            if threads:
                task = asyncio.create_task(_keep(turn.pop_all(), threads))
                _kept.add(task)
                task.add_done_callback(_kept.discard)


async def _keep(turn: AsyncExitStack, threads: Threads) -> None:
    async with turn:
        while threads:
            await asyncio.wait(threads)
