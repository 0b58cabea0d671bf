"""A step that is taken again and again beside something else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from services.runtime.errors import MeshError

log = structlog.get_logger()


@asynccontextmanager
async def repeating(step: Callable[[], Awaitable[None]], interval: float, fault: str) -> AsyncIterator[None]:
    """Take a step every `interval` seconds while the body runs; it is cancelled and waited for at the end.

    One that fails is logged as `fault` and taken again; a MeshError was told of by who raised it.
    """

    async def forever() -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await step()
            except MeshError:
                continue
            except Exception:
                log.exception(fault)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
