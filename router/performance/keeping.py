"""Keeping the performance database at work beside the routing, which goes on whether it is there or not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from router.performance.store import Learner, Performance
from services.runtime.database import Database
from services.runtime.errors import MeshError

MERGE_SECONDS = 2.0
FORGET_SECONDS = 60.0
CLOSE_SECONDS = 5.0
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)  # pauses after failures in a row; the last one again and again

log = structlog.get_logger()


@asynccontextmanager
async def open_performance(
    database: Database, learner: Learner, replica: str, merge_seconds: float = MERGE_SECONDS
) -> AsyncIterator[Performance]:
    """Teach the learner what is remembered and keep teaching it; on leaving, write down what waits.

    `replica` names this router among those that share the database. Raises MeshError DEPENDENCY_UNAVAILABLE when the
    database is not there to begin with.
    """
    performance = Performance(database, learner, replica)
    await performance.load()
    tasks = [
        asyncio.create_task(_again_and_again("runs are written down", performance.flush_soon, 0)),
        asyncio.create_task(_again_and_again("replicas are listened to", performance.merge, merge_seconds)),
        asyncio.create_task(_again_and_again("old runs are forgotten", performance.forget, FORGET_SECONDS)),
    ]
    try:
        yield performance
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _flush_last(performance)


async def _flush_last(performance: Performance) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await performance.flush()
    except (MeshError, TimeoutError):
        log.error("runs were not recorded: the database was away at the end", runs=performance.waiting)


async def _again_and_again(what: str, step: Callable[[], Awaitable[None]], pause: float) -> None:
    """Take a step, pause, and so on; one that failed is taken again later, and told of once."""
    failed = 0
    while True:
        try:
            await step()
        except Exception as error:  # whatever it is, the next step may work, and nobody else takes it
            if not failed:
                log.warning(f"{what} later: it failed now, and routing goes on", error=str(error))
            await asyncio.sleep(RETRY_SECONDS[min(failed, len(RETRY_SECONDS) - 1)])
            failed += 1
        else:
            if failed:
                log.info(f"{what} again")
            failed = 0
            await asyncio.sleep(pause)
