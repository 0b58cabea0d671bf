"""Several streams as one: how the events of compared models come to their caller."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TypeVar

Item = TypeVar("Item")


async def merged(streams: Mapping[str, AsyncIterator[Item]]) -> AsyncGenerator[tuple[str, Item], None]:
    """Yield what the streams yield, each with its stream's name, as it comes; none is read ahead by more than one.

    Raises what a stream raises; the others are then left, as they are when the reader goes away.
    """
    waiting = {_next(stream): name for name, stream in streams.items()}
    try:
        while waiting:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in waiting if task.done()]:
                name = waiting.pop(task)
                try:
                    yield name, task.result()
                except StopAsyncIteration:
                    continue
                waiting[_next(streams[name])] = name
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _next(stream: AsyncIterator[Item]) -> asyncio.Task[Item]:
    async def step() -> Item:
        return await anext(stream)

    return asyncio.create_task(step())
