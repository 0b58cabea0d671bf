"""A Triton that loads what it is told to, when and how the test wants it."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from scrollintel.visual.v1 import errors_pb2
from services.models.cache.memory import Measured
from services.runtime.errors import MeshError

AWAY = MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "away", retry_after=1.0)


@dataclass(eq=False)
class ScriptedTriton:
    """Answers as `TritonClient` does.

    `gate` holds loadings up until it is set; `failures` are raised by a model's next loadings, in order; `away` makes
    everything unreachable. `loads` and `unloads` count, `asked` holds the warm-ups.
    """

    known: set[str]
    loaded: set[str] = field(default_factory=set)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failures: dict[str, list[MeshError]] = field(default_factory=dict)
    refuses: MeshError | None = None
    away: bool = False
    decoupled: bool = False
    loads: Counter[str] = field(default_factory=Counter)
    unloads: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    most: int = 0
    """The most models that were loaded at one time."""

    def __post_init__(self) -> None:
        self.gate.set()

    async def index(self) -> dict[str, str]:
        self._reach()
        return {name: "READY" if name in self.loaded else "UNAVAILABLE" for name in self.known}

    async def load(self, model: str, timeout: float) -> None:
        self._reach()
        self.loads[model] += 1
        await self.gate.wait()
        if planned := self.failures.get(model):
            raise planned.pop(0)
        self._reach()
        self.loaded.add(model)
        self.most = max(self.most, len(self.loaded))

    async def unload(self, model: str, timeout: float) -> None:
        self._reach()
        self.unloads[model] += 1
        self.loaded.discard(model)

    async def config(self, model: str) -> Any:
        return SimpleNamespace(model_transaction_policy=SimpleNamespace(decoupled=self.decoupled))

    async def infer(self, model: str, inputs: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        self.asked.append((model, inputs))
        if self.refuses:
            raise self.refuses
        return {}

    async def stream(self, model: str, inputs: Mapping[str, Any], *, request_id: str, timeout: float) -> Any:
        yield await self.infer(model, inputs, timeout)

    def _reach(self) -> None:
        if self.away:
            raise AWAY


@dataclass(eq=False)
class ScriptedMeter:
    """Measures what the test says: bytes by model, of those that are loaded, and the server's own."""

    triton: ScriptedTriton
    models: dict[str, int] = field(default_factory=dict)
    server: int = 0
    process: int | None = None

    def pid(self) -> int | None:
        return self.process

    def measure(self) -> Measured | None:
        if self.process is None:
            return None
        held = {name: size for name, size in self.models.items() if name in self.triton.loaded}
        return Measured(self.process, held, self.server)
