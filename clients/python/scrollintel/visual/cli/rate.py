"""`vmesh rate`: what somebody thought of a result."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from scrollintel.visual.cli import failures, mesh
from scrollintel.visual.client import VisualClient
from scrollintel.visual.exceptions import VisualMeshError


def rate(
    generation: Annotated[
        str, typer.Argument(help="The generation's id, such as gen-0123456789abcdef.", show_default=False)
    ],
    rating: Annotated[int, typer.Argument(help="From 1 (bad) to 5 (good).", show_default=False)],
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Tell what you thought of a result; the router learns from it. The same rating again counts once.

    Exit codes: 0 it was heard, 2 usage, 3 no rating, 7 no such generation, 8 no mesh, 10 not served.
    """
    console = Console(stderr=True)
    try:
        asyncio.run(_tell(generation, rating, address, mesh.folder(home)))
    except VisualMeshError as error:
        failures.print_error(console, error)
        raise typer.Exit(failures.exit_code(error)) from error
    console.print(f"[green]rated[/] {escape(generation)} {'★' * rating}{'☆' * (5 - rating)}")


async def _tell(generation: str, rating: int, address: str | None, home: Path) -> None:
    door = await mesh.require(address, home)
    async with VisualClient(door) as client:
        await client.rate(generation, rating)
