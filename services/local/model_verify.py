"""`vmesh models verify`: every component of every built model against its reference, and every built file."""

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from services.local import model_table
from services.models import manifest, parity
from services.models.engine_table import print_engines
from services.models.entry import Model
from services.models.inventory import ENTRY, built_models, unknown_builds
from services.models.manifest import ManifestError
from services.models.parity import Parity, ParityError
from services.models.presence import Presence, served_repository
from services.models.state import remedy

if TYPE_CHECKING:
    from services.models.tensorrt.engines import EngineOutcome

ENGINES = "engines"

USAGE = 2


def run(names: list[str], home: Path, *, as_json: bool) -> int:
    """Verify and print; returns the exit code."""
    console = model_table.console(stderr=as_json)
    entries = {model.name: (model, build) for model, build in built_models(home)}
    built = {name: build for name, (_, build) in entries.items()}
    unreadable = [name for name in unknown_builds(home) if not names or name in names]
    unknown = [name for name in names if name not in built and name not in unreadable]
    if unknown or not (built or unreadable):
        what = f"{', '.join(unknown)}: not built" if unknown else "no model is built"
        there = f"; there are: {', '.join(built)}" if built else "; first: vmesh models build"
        console.print(f"[red]{escape(what)}[/]{there}", soft_wrap=True)
        return USAGE
    found: dict[str, list[Parity]] = {}
    problems: dict[str, list[str]] = {}
    for name in unreadable:
        place = (served_repository(home) / name).resolve()
        way_out = f"rm -r {place} && vmesh models build {name}"
        model_table.console(stderr=True).print(
            f"[red]{name}[/]: {ENTRY} cannot be read, so nothing of it was checked; make it anew: {escape(way_out)}",
            soft_wrap=True,
        )
    for name in (name for name in names or built if name in built):
        with console.status(f"{name}: files"):
            problems[name] = _files(built[name])
        with console.status(f"{name}: components"):
            found[name] = _components(built[name], problems[name])
    engines = {name: _engines(built[name], name, console) for name in found}
    failed = (
        bool(unreadable)
        or any(problems.values())
        or not all(each.passed for row in found.values() for each in row)
    )
    failed |= any(each.status == "failed" for row in engines.values() for each in row)
    if as_json:
        told = {
            name: {
                "files": problems[name],
                "components": [_as_json(each) for each in row],
                "engines": [asdict(each) for each in engines[name]],
            }
            for name, row in found.items()
        }
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        _print(console, found, problems, entries)
        for name, row in engines.items():
            if row:
                console.print(f"\n[bold]engines of {name}[/]")
                print_engines(console, row)
    return 1 if failed else 0


def _as_json(parity: Parity) -> dict[str, object]:
    """JSON has no infinity: an error that is no number is null."""
    error = parity.error if math.isfinite(parity.error) else None
    return asdict(parity) | {"error": error, "passed": parity.passed}


def _engines(build: Path, name: str, console: Console) -> "list[EngineOutcome]":
    """Run the engines that this machine's GPU can run; those for another are told of and left as they are."""
    if not (build / ENGINES).is_dir():
        return []
    from services.models.tensorrt.engines import verify_engines

    with console.status(f"{name}: engines") as status:
        return verify_engines(build, lambda stage: status.update(f"{name}: {stage}"))


def _components(build: Path, problems: list[str]) -> list[Parity]:
    try:
        return parity.verify(build)
    except ParityError as error:
        problems.append(str(error))
        return []


def _files(build: Path) -> list[str]:
    try:
        return manifest.check(build)
    except ManifestError as error:
        return [str(error)]


def _print(
    console: Console,
    found: dict[str, list[Parity]],
    problems: dict[str, list[str]],
    entries: dict[str, tuple[Model, Path]],
) -> None:
    told = () if model_table.is_narrow(console) else ("reference", "runtime")
    table = model_table.table("model", "component", *told, "max error", "tolerance", "verdict")
    for name, row in found.items():
        for each in row:
            verdict = "[green]equal[/]" if each.passed else "[red]DIFFERS[/]"
            which = (escape(each.reference), each.runtime) if told else ()
            table.add_row(name, each.component, *which, f"{each.error:.1e}", f"{each.tolerance:.0e}", verdict)
        if not row:
            table.add_row(name, "[dim]no graphs[/]")
    console.print(table)
    console.print("\n[dim]error: max|a - b| / max(1, max|b|) over every output[/]", highlight=False)
    if not told:
        pairs = {(each.runtime, each.reference) for row in found.values() for each in row}
        for runtime, reference in sorted(pairs):
            console.print(f"[dim]{runtime} against {escape(reference)}[/]", highlight=False)
    for name, row in found.items():
        for each in row:
            if each.detail:
                console.print(f"[red]{name}/{each.component}[/]: {escape(each.detail)}", soft_wrap=True)
    for name, lines in problems.items():
        for line in lines:
            console.print(f"[red]{name}[/]: {escape(line)}", soft_wrap=True)
        if lines:
            model, build = entries[name]
            anew = f"  make it anew: rm -r {build} && {remedy(model, Presence(built=False))}"
            console.print(escape(anew), soft_wrap=True, highlight=False)
    checked = sum(not lines for lines in problems.values())
    console.print(f"[dim]files as they were built: {checked} of {len(problems)} models[/]", highlight=False)
