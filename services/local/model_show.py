"""`vmesh models show`: one entry whole, and the build of it that is here."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape

from services.local import model_table
from services.models import manifest, parity
from services.models.catalogue import CatalogueError, get_model
from services.models.entry import Model
from services.models.inventory import build_of
from services.models.manifest import ManifestError
from services.models.parity import Parity, ParityError
from services.models.presence import presence
from services.models.state import state_of

USAGE = 2


def run(name: str, home: Path, *, as_json: bool) -> int:
    """Print the entry; returns the exit code."""
    try:
        model = get_model(name, home)
    except CatalogueError as error:
        model_table.console(stderr=True).print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return USAGE
    build = build_of(name, home)
    if as_json:
        told = {
            "entry": model.model_dump(mode="json"),
            "build": str(build) if build else None,
            "files": _digests(build) if build else {},
            "parity": [asdict(each) for each in _parity(build)] if build else [],
        }
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return 0
    console = model_table.console()
    _print_entry(console, model, home)
    if build:
        _print_build(console, build)
    return 0


def _print_entry(console: Console, model: Model, home: Path) -> None:
    state, remedy = state_of(model, {}, presence(model, home))
    word = state.name.lower().replace("_", " ")
    console.print(f"[bold]{model.name}[/]  {escape(model.title)}  {model_table.state(word)}")
    if remedy:
        console.print(f"  {escape(remedy)}", soft_wrap=True, highlight=False)
    licence = model_table.licence(model.licence.spdx, model.licence.commercial_use)
    console.print(f"  {licence}: {escape(model.licence.attribution)}\n", soft_wrap=True, highlight=False)
    rest = model.model_dump(mode="json", exclude={"name", "title", "licence"}, exclude_defaults=True)
    text = yaml.safe_dump(rest, sort_keys=False, default_flow_style=None, width=110)
    console.print(escape(text.rstrip()), soft_wrap=True)


def _print_build(console: Console, build: Path) -> None:
    console.print(f"\n[bold]build[/] {escape(str(build))}\n", soft_wrap=True, highlight=False)
    files = model_table.table("file", "size", "sha256")
    for name, digest in _digests(build).items():
        path = build / name
        files.add_row(name, f"{path.stat().st_size:,}" if path.is_file() else "[red]missing[/]", digest)
    console.print(files)
    found = model_table.table("component", "reference", "runtime", "max error", "tolerance")
    for each in _parity(build):
        errors = f"{each.error:.1e}", f"{each.tolerance:.0e}"
        found.add_row(each.component, escape(each.reference), each.runtime, *errors)
    console.print("", found)
    console.print(f"\n[dim]vmesh models verify {build.parent.name} runs this again[/]", highlight=False)


def _parity(build: Path) -> list[Parity]:
    """What was found when it was built; nothing where that is damaged, which `vmesh models verify` tells of."""
    try:
        return parity.as_built(build)
    except ParityError:
        return []


def _digests(build: Path) -> dict[str, str]:
    try:
        return manifest.read(build)
    except ManifestError:
        return {}
