"""`vmesh redact`: a text without what is personal in it."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scrollintel.visual.cli import failures, mesh
from scrollintel.visual.client import VisualClient
from scrollintel.visual.exceptions import VisualMeshError
from scrollintel.visual.redaction import Redaction


def redact(
    text: Annotated[
        str, typer.Argument(help="What to redact; `-` reads it from the standard input.", show_default=False)
    ],
    originals: Annotated[
        bool, typer.Option("--originals", help="Tell on standard error what each pseudonym stands for.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the text.")
    ] = False,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Replace names, addresses, numbers and keys in a text by pseudonyms such as <EMAIL_1>.

    The mesh that runs here is asked, and keeps nothing of it.

    Exit codes: 0 done, 2 usage, 3 the text is empty or too long, 6 it could not be read to its end, 8 no mesh.
    """
    console = Console(stderr=True)
    said = sys.stdin.read().rstrip("\n") if text == "-" else text
    try:
        found = asyncio.run(_ask(said, originals, address, mesh.folder(home)))
    except VisualMeshError as error:
        if as_json:
            sys.stdout.write(json.dumps({"error": failures.as_json(error)}, indent=2) + "\n")
        else:
            failures.print_error(console, error)
        raise typer.Exit(failures.exit_code(error)) from error
    if as_json:
        sys.stdout.write(json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n")
        return
    sys.stdout.write(found.text + "\n")
    for pseudonym, words in found.originals.items():
        sys.stderr.write(f"{pseudonym} {words}\n")


async def _ask(text: str, originals: bool, address: str | None, home: Path) -> Redaction:
    async with VisualClient(await mesh.require(address, home)) as client:
        return await client.redact(text, with_originals=originals)
