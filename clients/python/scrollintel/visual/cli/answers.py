"""What a command of one call asks of the mesh that runs."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console

from scrollintel.visual.cli import failures, mesh
from scrollintel.visual.client import VisualClient
from scrollintel.visual.exceptions import VisualMeshError

T = TypeVar("T")


def answer(
    call: Callable[[VisualClient], Coroutine[Any, Any, T]],
    address: str | None,
    home: Path | None,
    *,
    as_json: bool = False,
    beside: Mapping[str, Any] | None = None,
) -> T:
    """Return what a call to the mesh gives; print its error and end the command otherwise.

    `beside` stands in the JSON of an error: what was done before it.
    """

    async def ask() -> T:
        async with VisualClient(await mesh.require(address, mesh.folder(home))) as client:
            return await call(client)

    try:
        return asyncio.run(ask())
    except VisualMeshError as error:
        if as_json:
            sys.stdout.write(
                json.dumps({**(beside or {}), "error": failures.as_json(error)}, indent=2) + "\n"
            )
        else:
            failures.print_error(Console(stderr=True), error)
        raise typer.Exit(failures.exit_code(error)) from error
