"""`vmesh models load` and `unload`: asks the running mesh."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from scrollintel.visual import VisualMeshError, running
from scrollintel.visual.catalogue import Model
from scrollintel.visual.cli import failures
from scrollintel.visual.client import VisualClient
from services.local import model_table

NO_MESH = 8  # as `vmesh generate` says it


def load(name: str, home: Path) -> int:
    """Load a model and print where it is then; returns the exit code."""
    return _ask(home, f"loading {name}", lambda client: client.load_model(name))


def unload(name: str, home: Path) -> int:
    """Unload a model and print where it is then; returns the exit code."""
    return _ask(home, f"unloading {name}", lambda client: client.unload_model(name))


def _ask(home: Path, doing: str, call: Callable[[VisualClient], Awaitable[Model]]) -> int:
    console, mesh = model_table.console(), running.read(home)
    if mesh is None:
        console.print("[red]no mesh runs here[/]; start one: vmesh up")
        return NO_MESH

    async def ask(gateway: str) -> Model:
        async with VisualClient(gateway) as client:
            return await call(client)

    began = time.monotonic()
    try:
        with console.status(doing):
            model = asyncio.run(ask(mesh.gateway))
    except VisualMeshError as error:
        failures.print_error(console, error)
        return failures.exit_code(error)
    state = model_table.state(model.state.replace("_", " "))
    held = f", {model_table.memory(model.resident_bytes)}" if model.resident_bytes else ""
    console.print(f"{model.name}: {state}{held} after {time.monotonic() - began:.1f} s", highlight=False)
    return 0
