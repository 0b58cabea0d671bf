"""Work in threads that is done in turn, a few at a time, and holds its turn for as long as it goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from services.runtime.admission import Admission
from services.runtime.deadline import budget
from services.runtime.errors import MeshError

T = TypeVar("T")


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


async def _held(turn: AsyncExitStack, work: Callable[[], Awaitable[T]]) -> T:
    async with turn:
        return await work()
