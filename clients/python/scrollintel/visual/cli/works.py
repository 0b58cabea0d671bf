"""`vmesh protect` and `vmesh works`: pictures that no picture of the mesh may reproduce."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from scrollintel.visual.cli import mesh
from scrollintel.visual.cli.answers import answer
from scrollintel.visual.client import VisualClient
from scrollintel.visual.works import ProtectedWork

works = typer.Typer(help="Protected works: list them, take them out.", rich_markup_mode="rich")


def protect(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="PNG, JPEG or WebP pictures.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    holder: Annotated[str, typer.Option(help="Who holds the rights.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Register pictures that must not be reproduced, one after the other up to the first that is refused.

    The mesh holds every picture that it draws, for whomever, against them; it keeps a hash and an embedding of them.

    Exit codes: 0 all are registered, 2 usage, 3 one is refused, 5 there is no room for more, 8 no mesh, 10 not served.
    """
    kept: list[dict[str, str]] = []

    async def register(client: VisualClient) -> None:
        for file in files:
            kept.append({"file": str(file), "id": await client.protect(file, holder=holder)})
            if not as_json:
                Console(stderr=True).print(f"[green]protected[/] {escape(str(file))} {kept[-1]['id']}")

    answer(register, address, home, as_json=as_json, beside={"works": kept})
    if as_json:
        sys.stdout.write(json.dumps({"works": kept}, indent=2) + "\n")


@works.callback(invoke_without_command=True)
def listed(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """List the works that you registered, newest first; `vmesh protect FILE --holder NAME` registers one.

    Exit codes: 0 there are some, 1 there is none, 2 usage, 8 no mesh, 10 not served.
    """
    if context.invoked_subcommand is not None:
        return
    found = answer(lambda client: client.protected_works(), address, home, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps({"works": [_as_json(work) for work in found]}, indent=2) + "\n")
    else:
        Console(soft_wrap=True, highlight=False).print("\n".join(_lines(found)) or "no protected works")
    raise typer.Exit(0 if found else 1)


@works.command()
def remove(
    work: Annotated[str, typer.Argument(help="The id of one that you registered.", show_default=False)],
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Take out a work that you registered.

    Exit codes: 0 it is out, 2 usage, 7 no such work of yours, 8 no mesh, 10 not served.
    """
    answer(lambda client: client.remove_protected_work(work), address, home)
    Console(stderr=True).print(f"[green]removed[/] {escape(work)}")


def _lines(found: Sequence[ProtectedWork]) -> list[str]:
    return [f"[bold]{work.id}[/] {work.created_at:%Y-%m-%d %H:%M} {escape(work.holder)}" for work in found]


def _as_json(work: ProtectedWork) -> dict[str, str]:
    return {"id": work.id, "holder": work.holder, "created_at": work.created_at.isoformat()}
