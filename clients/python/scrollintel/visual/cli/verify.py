"""`vmesh verify`: where pictures and videos come from."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from scrollintel.visual.cli import failures, mesh
from scrollintel.visual.client import VisualClient
from scrollintel.visual.exceptions import VisualMeshError
from scrollintel.visual.provenance import Provenance


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found out about one file, or why nothing was."""

    file: Path
    provenance: Provenance | None = None
    error: VisualMeshError | OSError | None = None

    @property
    def valid(self) -> bool:
        """Whether the file is as this mesh made it."""
        return self.provenance is not None and self.provenance.manifest_valid


def verify(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="PNG, JPEG and WebP pictures, MP4 videos.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds each file may take.")] = 120.0,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Tell whether pictures and videos are as this mesh made them, by their signed manifest and their invisible watermark.

    The mesh that runs here is asked, and keeps nothing of them.

    Exit codes: 0 every file has a valid manifest of this mesh, 1 some have not or could not be verified, 2 usage,
    8 no mesh.
    """
    console = Console(stderr=True)
    try:
        found = asyncio.run(_ask(files, timeout, address, mesh.folder(home)))
    except VisualMeshError as error:
        if as_json:
            sys.stdout.write(json.dumps({"error": failures.as_json(error)}, indent=2) + "\n")
        else:
            failures.print_error(console, error)
        raise typer.Exit(failures.exit_code(error)) from error
    if as_json:
        sys.stdout.write(json.dumps({"files": [_as_json(each) for each in found]}, indent=2) + "\n")
    else:
        out = Console(soft_wrap=True)
        for each in found:
            out.print("\n".join(_lines(each)))
    raise typer.Exit(0 if all(each.valid for each in found) else 1)


async def _ask(files: Sequence[Path], timeout: float, address: str | None, home: Path) -> list[Verified]:
    door = await mesh.require(address, home)
    async with VisualClient(door, timeout=timeout) as client:
        return [await _verified(file, client) for file in files]


async def _verified(file: Path, client: VisualClient) -> Verified:
    """Ask for one file; its failure is its own."""
    try:
        return Verified(file, await client.verify(file))
    except (VisualMeshError, OSError) as error:
        return Verified(file, error=error)


def _lines(verified: Verified) -> list[str]:
    name = escape(str(verified.file))
    told = verified.provenance
    if told is None:
        error = verified.error
        said = error.message if isinstance(error, VisualMeshError) else str(error)
        return [f"[red]not verified[/] {name}: {escape(said)}"]
    if told.manifest_valid:
        made = f"by {escape(told.model)}" if told.model else "by restoring a picture"
        lines = [
            f"[green]valid[/] {name}",
            f"  manifest   signed by {escape(told.issuer)}: made {made} in {escape(told.generation_id)}",
        ]
    else:
        signed = f" [dim]signed by {escape(told.issuer)}[/]" if told.issuer else ""
        lines = [f"[red]not valid[/] {name}", f"  manifest   {escape('; '.join(told.reasons))}{signed}"]
    payload = f" {escape(told.watermark)}" if told.watermark else ""
    mark = f"found{payload}" if told.watermark_found else "not found"
    return [*lines, f"  watermark  {mark} [dim]p-value {told.watermark_p_value:.1e}[/]"]


def _as_json(verified: Verified) -> dict[str, Any]:
    told: dict[str, Any] = {"file": str(verified.file)}
    if isinstance(verified.error, VisualMeshError):
        return told | {"error": failures.as_json(verified.error)}
    if verified.error is not None:
        return told | {"error": {"message": str(verified.error)}}
    assert verified.provenance
    return told | asdict(verified.provenance)
