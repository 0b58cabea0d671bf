"""`vmesh doctor`: everything that the mesh needs on this machine, and the command that mends what is missing."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scrollintel.visual import running
from scrollintel.visual.client import ADDRESS
from services.local import machine
from services.local.findings import Finding, Verdict, advice, fine, missing

MARKS = {Verdict.FINE: "[green]✓[/]", Verdict.ADVICE: "[yellow]![/]", Verdict.MISSING: "[red]✗[/]"}


def run(home: Path | None, *, as_json: bool) -> int:
    """Look at everything, print it, and return the exit code."""
    findings = list(examine((home or running.default_home()).expanduser()))
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        _print(Console(), findings)
    return 1 if any(finding.verdict is Verdict.MISSING for finding in findings) else 0


def examine(home: Path) -> Iterator[Finding]:
    """Yield a finding for everything; one look that fails by itself is a finding too."""
    mesh = running.read(home)
    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", machine.python),
        ("packages", machine.packages),
        ("triton", machine.triton),
        ("models", lambda: models(home)),
        ("tools", machine.tools),
        ("memory", machine.memory),
        ("disk", lambda: machine.disk(home)),
        ("port", lambda: machine.port(ADDRESS, mesh.gateway if mesh else "")),
        ("mesh", lambda: live(mesh)),
    ]
    for name, look in looks:
        try:
            yield from look()
        except Exception as error:
            # The doctor is asked when something is broken; that must not break the doctor.
            yield missing(name, f"could not be looked at: {type(error).__name__}: {error}", machine.REINSTALL)


def models(home: Path) -> Iterator[Finding]:
    """Look at every model of the catalogue: are its weights here, and is it built."""
    from services.models.catalogue import read_catalogue
    from services.models.entry import RepositorySource, Residency
    from services.models.presence import missing_weights, served_repository

    for model in read_catalogue(home).values():
        if model.optional:
            continue  # built when somebody asks for it by name
        name = f"model {model.name}"
        committed = isinstance(model.source, RepositorySource)
        absent = missing_weights(model, home)
        if (served_repository(home) / model.name).exists():
            yield fine(name, "built")
        elif committed and absent:
            yield advice(
                name,
                f"no weights: {', '.join(absent)} are not in model_repository/{model.name}",
                "train and export it: models/house/README.md",
            )
        else:
            # `up` and `generate` build by themselves; saying it beforehand spares the wait.
            found = missing if model.residency is Residency.PINNED else advice
            yield found(name, "not built yet", f"vmesh models build {model.name}")


def live(mesh: running.RunningMesh | None) -> Iterator[Finding]:
    """Look whether the mesh that says it runs from this home answers."""
    if mesh is None:
        yield fine("mesh", "none runs; `vmesh up` keeps one running, `vmesh generate` starts its own")
    elif asyncio.run(running.health(mesh.gateway)):
        yield fine("mesh", f"serves at {mesh.gateway}, process {mesh.pid}")
    else:
        yield missing(
            "mesh", f"process {mesh.pid} does not serve at {mesh.gateway}", f"kill {mesh.pid}; vmesh up"
        )


def _print(console: Console, findings: list[Finding]) -> None:
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        remedy = f"\n[green]→[/] [bold]{escape(finding.remedy)}[/]" if finding.remedy else ""
        table.add_row(MARKS[finding.verdict], finding.name, escape(finding.detail) + remedy)
    console.print(table)
    absent = sum(finding.verdict is Verdict.MISSING for finding in findings)
    console.print(f"\n[red]{absent} missing[/]" if absent else "\n[green]nothing is missing[/]")
