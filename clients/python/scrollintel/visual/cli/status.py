"""`vmesh status`: how the mesh is."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scrollintel.visual import Backend, Model, VisualClient, running
from scrollintel.visual.cli import failures, mesh, survey
from scrollintel.visual.cli.survey import Server
from scrollintel.visual.exceptions import VisualMeshError

COLOURS = {
    "serving": "green",
    "ready": "green",
    "loadable": "yellow",
    "draining": "yellow",
    "needs_weights": "yellow",
    "not serving": "red",
    "unavailable": "red",
    "no answer": "red",
}


@dataclass(frozen=True, slots=True)
class Status:
    """How a mesh is; models and backends are None where they could not be asked for."""

    gateway: str
    pid: int | None
    started_at: str
    servers: list[Server]
    triton: tuple[str, str] | None
    """Triton's address and health, where it is known."""
    models: list[Model] | None
    backends: list[Backend] | None

    @property
    def healthy(self) -> bool:
        """Whether every server that is known serves."""
        healths = [server.health for server in self.servers] + ([self.triton[1]] if self.triton else [])
        return all(health == "serving" for health in healths)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Show every server, Triton, the backends, the models, and the rpcs that this version does not serve yet.

    Exit codes: 0 everything serves, 1 something does not, 8 no mesh.
    """
    try:
        found = asyncio.run(_ask(address, mesh.folder(home)))
    except VisualMeshError as error:
        if as_json:
            sys.stdout.write(json.dumps({"error": failures.as_json(error)}, indent=2) + "\n")
        else:
            failures.print_error(Console(stderr=True), error)
        raise typer.Exit(failures.exit_code(error)) from error
    if as_json:
        sys.stdout.write(json.dumps(_as_json(found), indent=2) + "\n")
    else:
        _print(Console(), found)
    raise typer.Exit(0 if found.healthy else 1)


async def _ask(address: str | None, home: Path) -> Status:
    door = await mesh.require(address, home)
    local = running.read(home)
    if local and local.gateway != door:
        local = None
    servers, triton, (models, backends) = await asyncio.gather(
        survey.look(mesh.servers(door, home)), _triton(local), _catalogue(door)
    )
    return Status(
        gateway=door,
        pid=local.pid if local else None,
        started_at=local.started_at if local else "",
        servers=servers,
        triton=triton,
        models=models,
        backends=backends,
    )


async def _triton(local: running.RunningMesh | None) -> tuple[str, str] | None:
    if local is None:
        return None
    answer = await running.health(local.triton)
    return local.triton, {True: "serving", False: "not serving", None: "no answer"}[answer]


async def _catalogue(door: str) -> tuple[list[Model] | None, list[Backend] | None]:
    async with VisualClient(door) as client:
        models, backends = await asyncio.gather(client.models(), client.backends(), return_exceptions=True)
    return (
        None if isinstance(models, BaseException) else models,
        None if isinstance(backends, BaseException) else backends,
    )


def _print(console: Console, found: Status) -> None:
    since = f", process {found.pid}, since {found.started_at}" if found.pid else ""
    console.print(f"[bold]mesh[/] at {found.gateway}{since}\n")
    servers = _table("server", "address", "health", "rpcs served")
    for server in found.servers:
        served = f"{len(server.rpcs) - len(server.unserved)} of {len(server.rpcs)}"
        servers.add_row(server.name, server.address, _coloured(server.health), served)
    if found.triton:
        servers.add_row("triton", found.triton[0], _coloured(found.triton[1]), "")
    console.print(servers)
    if found.models is not None:
        models = _table("model", "task", "state", "licence")
        for model in found.models:
            models.add_row(model.name, model.task, _coloured(model.state), model.licence)
        console.print("", models)
        for model in found.models:
            if model.remedy:
                console.print(f"  [green]→[/] {model.name}: {escape(model.remedy)}")
    if found.backends is not None:
        backends = _table("backend", "makes", "state", "working on")
        for backend in found.backends:
            load = f"{backend.in_flight} of {backend.concurrency}"
            backends.add_row(backend.name, backend.modality.replace("_", " "), _coloured(backend.state), load)
        console.print("", backends)
    console.print("\n[dim]declared, and not served by this version (they answer UNIMPLEMENTED)[/]")
    later = Table.grid(padding=(0, 2))
    for service, names in _unserved(found).items():
        later.add_row("", f"[cyan]{service.rsplit('.', 1)[-1]}[/]", ", ".join(names))
    console.print(later)


def _unserved(found: Status) -> dict[str, list[str]]:
    """Return the rpcs that no server serves, by service: the gateway may leave to others what it does not carry."""
    declared: dict[tuple[str, str], bool] = {}
    for server in found.servers:
        for rpc in server.rpcs:
            key = (rpc.service, rpc.name)
            declared[key] = declared.get(key, False) or rpc not in server.unserved
    missing: dict[str, list[str]] = {}
    for (service, name), served in declared.items():
        if not served:
            missing.setdefault(service, []).append(name)
    return missing


def _as_json(found: Status) -> dict[str, Any]:
    return {
        "gateway": found.gateway,
        "pid": found.pid,
        "started_at": found.started_at,
        "healthy": found.healthy,
        "servers": {
            server.name: {
                "address": server.address,
                "health": server.health,
                "services": list(dict.fromkeys(rpc.service for rpc in server.rpcs)),
                "unserved": [f"{rpc.service}/{rpc.name}" for rpc in server.unserved],
            }
            for server in found.servers
        },
        "triton": {"address": found.triton[0], "health": found.triton[1]} if found.triton else None,
        "models": None if found.models is None else {model.name: model.state for model in found.models},
        "backends": None
        if found.backends is None
        else {backend.name: backend.state for backend in found.backends},
        "unserved": _unserved(found),
    }


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in columns:
        table.add_column(column)
    return table


def _coloured(state: str) -> str:
    colour = COLOURS.get(state, "white")
    return f"[{colour}]{state.replace('_', ' ')}[/]"
