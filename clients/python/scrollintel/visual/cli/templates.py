"""`vmesh templates`: prompts with holes, to draw with `vmesh generate --template`."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from scrollintel.visual.cli import failures, mesh
from scrollintel.visual.client import VisualClient
from scrollintel.visual.exceptions import VisualMeshError
from scrollintel.visual.templates import Template

FEW = 5  # templates that are shown with their holes; more are shown by id and title


def templates(
    search: Annotated[
        str, typer.Option(help="What to look for, in words: by meaning, nearest first.", show_default=False)
    ] = "",
    category: Annotated[str, typer.Option(help="Only of this category.", show_default=False)] = "",
    holes: Annotated[
        bool | None, typer.Option(help=f"Show what fills them; left out, where there are at most {FEW}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """List the prompt templates; `vmesh generate --template ID --var name=value` draws one.

    Exit codes: 0 some were found, 1 none was, 2 usage, 3 the search is too long, 8 no mesh, 10 not served.
    """
    console = Console(stderr=True)
    try:
        found = asyncio.run(_ask(search, category, address, mesh.folder(home)))
    except VisualMeshError as error:
        if as_json:
            sys.stdout.write(json.dumps({"error": failures.as_json(error)}, indent=2) + "\n")
        else:
            failures.print_error(console, error)
        raise typer.Exit(failures.exit_code(error)) from error
    if as_json:
        sys.stdout.write(json.dumps({"templates": [asdict(one) for one in found]}, indent=2) + "\n")
    else:
        whole = len(found) <= FEW if holes is None else holes
        out = Console(soft_wrap=True, highlight=False)
        for one in found:
            out.print("\n".join(_lines(one, whole=whole)))
        if not found:
            console.print("no template is like that; `vmesh templates` lists all")
    raise typer.Exit(0 if found else 1)


async def _ask(search: str, category: str, address: str | None, home: Path) -> list[Template]:
    door = await mesh.require(address, home)
    async with VisualClient(door) as client:
        return await client.templates(search, category=category)


def _lines(template: Template, *, whole: bool) -> list[str]:
    lines = [f"[bold]{template.id}[/] [dim]{template.category}[/] {escape(template.title)}"]
    if whole:
        lines.append(f"  {escape(template.text)}")
        width = max(len(hole.name) for hole in template.holes)
        for hole in template.holes:
            needed = "" if hole.default else " [yellow](needed)[/]"
            lines.append(
                f"  [cyan]{hole.name:{width}}[/] {escape(hole.about)}: [dim]{escape(hole.rule)}[/]{needed}"
            )
    return lines
