"""`vmesh models list`: the catalogue, what of it can be used now, and the command for the rest."""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from scrollintel.visual import VisualMeshError, running
from scrollintel.visual.client import VisualClient
from services.local import model_table
from services.models.catalogue import CatalogueError, read_catalogue
from services.models.presence import presence
from services.models.state import state_of

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Row:
    """A model as it is listed; `state` in words, `memory` in bytes, `remedy` what to do when it is not built."""

    task: str
    model: str
    state: str
    memory: int
    licence: str
    commercial_use: bool
    remedy: str


def run(home: Path, *, as_json: bool) -> None:
    """Print the catalogue as the running mesh tells it, or as this machine's disk does when none runs."""
    console, mesh = model_table.console(), running.read(home)
    rows, told = None, "no mesh runs; this is what lies on the disk"
    if mesh:
        try:
            rows, told = asyncio.run(_ask(mesh.gateway)), f"told by the mesh at {mesh.gateway}"
        except VisualMeshError as error:
            told = (
                f"the mesh at {mesh.gateway} does not answer ({error.message}); this is what lies on the disk"
            )
    try:
        rows = sorted(rows or _look(home), key=lambda row: (row.task, row.model))
    except CatalogueError as error:
        model_table.console(stderr=True).print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        sys.exit(1)
    if as_json:
        source = {"source": "mesh" if mesh and told.startswith("told") else "disk"}
        sys.stdout.write(json.dumps(source | {"models": [asdict(row) for row in rows]}, indent=2) + "\n")
    else:
        _print(console, rows, told)


async def _ask(gateway: str) -> list[Row]:
    async with VisualClient(gateway) as client:
        return [
            Row(
                model.task,
                model.name,
                model.state.replace("_", " "),
                model.memory_bytes,
                model.licence,
                model.commercial_use,
                model.remedy,
            )
            for model in await client.models()
        ]


def _look(home: Path) -> list[Row]:
    rows = []
    for model in read_catalogue(home).values():
        state, remedy = state_of(model, {}, presence(model, home))
        word = state.name.lower().replace("_", " ")
        spdx, commercial = model.licence.spdx, model.licence.commercial_use
        rows.append(Row(model.task, model.name, word, model.memory_mib * MEBIBYTE, spdx, commercial, remedy))
    return rows


def _print(console: Console, rows: list[Row], told: str) -> None:
    narrow = model_table.is_narrow(console)
    table = model_table.table(*(() if narrow else ("task",)), "model", "state", "memory", "licence")
    for task, group in groupby(rows, key=lambda row: row.task):
        if narrow:
            table.add_row(f"[dim]{task}[/]")
        for row in group:
            licence = model_table.licence(row.licence, row.commercial_use)
            cells = model_table.state(row.state), model_table.memory(row.memory), licence
            table.add_row(*((f"  {row.model}",) if narrow else (task, row.model)), *cells)
    console.print(table)
    if any(not row.commercial_use for row in rows):
        console.print(f"\n{model_table.NONCOMMERCIAL} not for commercial use", highlight=False)
    for state, heading in (("needs weights", "to bring weights"), ("not built", "to build")):
        wanted = [row for row in rows if row.state == state and row.remedy]
        if wanted:
            console.print(f"\n[dim]{heading}[/]")
            for row in wanted:
                console.print(f"  {escape(row.remedy)}", soft_wrap=True, highlight=False)
    console.print(f"\n[dim]{escape(told)}[/]", soft_wrap=True, highlight=False)
