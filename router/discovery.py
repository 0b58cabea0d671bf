"""Finds the backends of models that were built here: each brings its own entry, and nobody has to write it down.

`<repository>/<model>/backend.yaml` is one entry as in `backends.yaml`. The folder is read again and again, so that a
model is in service as soon as it is built, and out of it when its build is removed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from router.backends.protocol import Backend
from router.configuration import ConfigurationError
from router.entries import BackendEntry, load_entry
from router.fleet import Fleet
from router.probing import Probes
from services.runtime.errors import MeshError
from services.runtime.repeating import repeating

FILE = "backend.yaml"

log = structlog.get_logger()


class Discovery:
    """What was found in a repository, kept in step with the fleet; entries of `taken` names are left alone.

    `recall` is asked to teach the fleet's learning what is remembered of a backend that was found. An entry that breaks its
    rules is logged once, with the line that is wrong, and is no backend until it is mended.
    """

    def __init__(
        self,
        repository: Path,
        taken: Collection[str],
        fleet: Fleet,
        adapt: Callable[[BackendEntry], Backend],
        probes: Probes,
        recall: Callable[[str], Awaitable[None]],
    ) -> None:
        self._repository = repository
        self._taken = frozenset(taken)
        self._fleet = fleet
        self._adapt = adapt
        self._probes = probes
        self._recall = recall
        self._found: dict[str, BackendEntry] = {}
        self._told: set[str] = set()

    async def look(self) -> None:
        """Bring the fleet in step with the repository."""
        found, faults = await asyncio.to_thread(read, self._repository)
        faults |= {f"{name}: there is a backend of this name already" for name in self._taken & set(found)}
        for fault in faults - self._told:
            log.error("a built model is no backend", fault=fault)
        self._told = faults
        found = {name: entry for name, entry in found.items() if name not in self._taken}
        for name in self._fleet.members.keys() - self._taken - found.keys():
            log.info("backend gone", backend=name)
            self._probes.stop(name)
            self._fleet.drop(name)
            self._found.pop(name, None)
        for name, entry in found.items():
            if self._found.get(name) != entry:
                log.info("backend found", backend=name)
                self._fleet.put(entry, self._adapt(entry))
                with suppress(MeshError):  # the database is away: it is learned anew
                    await self._recall(name)
                await self._probes.start(name)
                self._found[name] = entry  # now, so that what failed before is done again at the next look


def read(repository: Path) -> tuple[dict[str, BackendEntry], set[str]]:
    """Return the entries of a repository by name, and what is wrong with the others, a line each."""
    found: dict[str, BackendEntry] = {}
    faults: set[str] = set()
    for path in sorted(repository.glob(f"[!.]*/{FILE}")):  # a hidden one is a link on its way
        try:
            entry = load_entry(path)
        except ConfigurationError as error:
            if path.exists():  # else it was removed while it was read
                faults.add(f"{path.parent.name}/{error}")
            continue
        if entry.name in found:
            faults.add(f"{path.parent.name}/{FILE}: there is a backend {entry.name} already")
            continue
        found[entry.name] = entry
    return found, faults


@asynccontextmanager
async def discovering(discovery: Discovery, interval: float) -> AsyncIterator[None]:
    """Look every `interval` seconds while the body runs; it starts after the first look."""
    await discovery.look()
    async with repeating(discovery.look, interval, "the repository could not be read"):
        yield
