"""Keeps what the fleet knows true: each backend is asked how it is, again and again, for as long as the server runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from router.fleet import Fleet
from router.snapshot import State

log = structlog.get_logger()


@asynccontextmanager
async def probing(fleet: Fleet, interval: float, timeout: float) -> AsyncIterator[None]:
    """Probe every backend each `interval` seconds while the body runs; it starts when each was asked once.

    A backend that does not answer within `timeout` seconds has missed the probe, and holds up no other.
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
    """Ask one backend; a late answer is none, and neither is an adapter that breaks its promise not to raise."""
    member = fleet.members[name]
    failures = member.failures
    state = State.UNAVAILABLE
    try:
        async with asyncio.timeout(timeout):
            state = await member.backend.probe()
    except TimeoutError:
        pass
    except Exception:
        log.exception("probe failed", backend=name)
    fleet.confirm(name, state, failures)


async def _watch(fleet: Fleet, name: str, interval: float, timeout: float) -> None:
    known = fleet.members[name].state
    while True:
        await asyncio.sleep(interval)
        await probe(fleet, name, timeout)
        if (state := fleet.members[name].state) is not known:
            log.info("backend changed", backend=name, was=known, state=state)
            known = state
