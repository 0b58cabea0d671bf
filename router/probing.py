"""Keeps what the fleet knows true: each backend is asked how it is, again and again, for as long as the server runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from router.fleet import Fleet

log = structlog.get_logger()


@asynccontextmanager
async def probing(fleet: Fleet, interval: float, timeout: float) -> AsyncIterator[None]:
    """Probe every backend each `interval` seconds while the body runs; it starts when each was asked once.

    A backend that does not answer within `timeout` seconds counts as unavailable and holds up no other.
    """
    await asyncio.gather(*(probe(fleet, name, timeout) for name in fleet.members))
    tasks = [asyncio.create_task(_watch(fleet, name, interval, timeout)) for name in fleet.members]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def probe(fleet: Fleet, name: str, timeout: float) -> None:
    """Ask one backend; late answers and adapters that break their promise not to raise make it unavailable."""
    try:
        async with asyncio.timeout(timeout):
            await fleet.probe(name)
    except TimeoutError:
        fleet.fail(name)
    except Exception:
        log.exception("probe failed", backend=name)
        fleet.fail(name)


async def _watch(fleet: Fleet, name: str, interval: float, timeout: float) -> None:
    known = fleet.members[name].state
    while True:
        await asyncio.sleep(interval)
        await probe(fleet, name, timeout)
        if (state := fleet.members[name].state) is not known:
            log.info("backend changed", backend=name, was=known, state=state)
            known = state
