"""Keeps what the fleet knows true: each backend is asked how it is, again and again, for as long as the server runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from router.fleet import Fleet
from router.snapshot import State

log = structlog.get_logger()


class Probes:
    """A task for each backend that is probed: every `interval` seconds, `timeout` seconds to answer in."""

    def __init__(self, fleet: Fleet, interval: float, timeout: float) -> None:
        self._fleet = fleet
        self._interval = interval
        self._timeout = timeout
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str) -> None:
        """Ask a backend of the fleet once, and from then on again and again; the one before of its name no more."""
        self.stop(name)
        await probe(self._fleet, name, self._timeout)
        self._tasks[name] = asyncio.create_task(self._watch(name))

    def stop(self, name: str) -> None:
        """Ask a backend no more."""
        if task := self._tasks.pop(name, None):
            task.cancel()

    async def stop_all(self) -> None:
        """Ask nobody any more, and wait until nobody is."""
        tasks = list(self._tasks.values())
        for name in list(self._tasks):
            self.stop(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, name: str) -> None:
        fleet = self._fleet
        known = fleet.members[name].state
        while True:
            await asyncio.sleep(self._interval)
            await probe(fleet, name, self._timeout)
            if (state := fleet.members[name].state) is not known:
                log.info("backend changed", backend=name, was=known, state=state)
                known = state


@asynccontextmanager
async def probing(fleet: Fleet, interval: float, timeout: float) -> AsyncIterator[Probes]:
    """Probe every backend each `interval` seconds while the body runs; it starts when each was asked once.

    A backend that does not answer within `timeout` seconds has missed the probe, and holds up no other.
    """
    probes = Probes(fleet, interval, timeout)
    try:
        await asyncio.gather(*map(probes.start, fleet.members))
        yield probes
    finally:
        await probes.stop_all()


async def probe(fleet: Fleet, name: str, timeout: float) -> None:
    """Ask one backend; a late answer is none, and neither is an adapter that breaks its promise not to raise."""
    member = fleet.members[name]
    spell = member.breaker.spell
    state = State.UNAVAILABLE
    try:
        async with asyncio.timeout(timeout):
            state = await member.backend.probe()
    except TimeoutError:
        pass
    except Exception:
        log.exception("probe failed", backend=name)
    if fleet.members.get(name) is member:
        fleet.confirm(name, state, spell)
