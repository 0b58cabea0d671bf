"""`vmesh services`: what the mesh offers, by gRPC reflection."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scrollintel.visual.cli import failures, mesh, survey
from scrollintel.visual.cli.survey import Server
from scrollintel.visual.exceptions import VisualMeshError


def services(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """List every service and rpc, with how its messages flow and whether this version serves it."""
    console = Console()
    try:
        found = asyncio.run(_look(address, mesh.folder(home)))
    except VisualMeshError as error:
        failures.print_error(Console(stderr=True), error)
        raise typer.Exit(failures.exit_code(error)) from error
    if as_json:
        sys.stdout.write(json.dumps({server.name: _as_json(server) for server in found}, indent=2) + "\n")
        return
    for server in found:
        console.print(_table(server))


async def _look(address: str | None, home: Path) -> list[Server]:
    door = await mesh.require(address, home)
    return await survey.look(mesh.servers(door, home))


def _table(server: Server) -> Table:
    title = f"[bold]{server.name}[/] [dim]{server.address}[/]"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2), show_header=False)
    for _ in range(4):
        table.add_column(no_wrap=True)
    previous = ""
    for rpc in server.rpcs:
        name = rpc.service.rsplit(".", 1)[-1]
        later = "[yellow]not served yet[/]" if rpc in server.unserved else ""
        table.add_row(f"[cyan]{name}[/]" if name != previous else "", rpc.name, f"[dim]{rpc.kind}[/]", later)
        previous = name
    return table


def _as_json(server: Server) -> dict[str, object]:
    return {
        "address": server.address,
        "rpcs": [
            {
                "service": rpc.service,
                "rpc": rpc.name,
                "kind": rpc.kind,
                "request": rpc.request,
                "response": rpc.response,
                "served": rpc not in server.unserved,
            }
            for rpc in server.rpcs
        ],
    }
