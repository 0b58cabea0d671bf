"""Which servers a mesh has, who calls whom, and so in which order they start."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from services.local.settings import GATEWAY
from services.runtime.server import ServerSpec
from services.runtime.settings import ServerSettings

TRITON = "triton"
ADDRESS = "_address"

MODULES: Mapping[str, str] = {
    "assets": "services.assets",
    "prompt": "services.prompt",
    "safety": "services.safety",
    "quality": "services.quality",
    "enhance": "services.enhance",
    "models": "services.models",
    "usage": "services.usage",
    "router": "router",
    "orchestrator": "services.orchestrator",
    GATEWAY: "services.gateway",
}


@dataclass(frozen=True)
class Entry:
    """A server that can be started."""

    name: str
    settings: type[ServerSettings]
    spec: Callable[[Any], ServerSpec]

    @property
    def calls(self) -> list[str]:
        """Names of the servers, Triton among them, whose addresses its settings ask for."""
        return [name.removesuffix(ADDRESS) for name in self.settings.model_fields if name.endswith(ADDRESS)]

    def describe(
        self, home: Path, listen: str, addresses: Mapping[str, str], chosen: Mapping[str, Any]
    ) -> ServerSpec:
        """Return what makes the server; `chosen` are settings of its own, over everything else."""
        wired: dict[str, Any] = {name + ADDRESS: addresses[name] for name in self.calls}
        return self.spec(self.settings(**{"home": home, "listen": listen, **wired, **chosen}))


def load() -> list[Entry]:
    """Import every server; it takes seconds, so call it off the event loop."""
    return [_entry(name, module) for name, module in MODULES.items()]


def layers(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the servers in layers: each one calls only servers of the layers before its own, and Triton.

    Raises CycleError when servers call one another in a circle, and ValueError when one calls a server there is not.
    """
    by_name = {entry.name: entry for entry in entries}
    unknown = {called for entry in entries for called in entry.calls} - set(by_name) - {TRITON}
    if unknown:
        raise ValueError(f"no server is called {', '.join(sorted(unknown))}")
    sorter = TopologicalSorter({entry.name: set(entry.calls) - {TRITON} for entry in entries})
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorter.get_ready()
        found.append([by_name[name] for name in sorted(ready)])
        sorter.done(*ready)
    return found


def _entry(name: str, package: str) -> Entry:
    service = importlib.import_module(f"{package}.service")
    settings = importlib.import_module(f"{package}.settings")
    return Entry(name, settings.Settings, service.spec)
