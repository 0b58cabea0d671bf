"""`python -m services.models.build`: build the repository and show what became of each model."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.models.build import BuildStatus, build_repository
from services.models.presence import served_repository

STYLES = {
    BuildStatus.BUILT: "green",
    BuildStatus.UNCHANGED: "dim",
    BuildStatus.NEEDS_WEIGHTS: "yellow",
    BuildStatus.REFUSED: "yellow",
    BuildStatus.FAILED: "red",
}


def build(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models to build; all when none is named.")
    ] = None,
    home: Annotated[Path, typer.Option(envvar="VMESH_HOME", help="Where builds are kept.")] = Path(
        "~/.visual-mesh"
    ),
    allow_noncommercial: Annotated[
        bool, typer.Option(help="Build models whose licence forbids commercial use.")
    ] = False,
) -> None:
    """Fetch, check and convert weights, and make the repository that Triton serves."""
    console, home = Console(), home.expanduser()
    with console.status("building") as status:
        outcomes = build_repository(
            home,
            models or None,
            lambda model, stage: status.update(f"{model}: {stage}"),
            allow_noncommercial=allow_noncommercial,
        )
    table = Table(title=str(served_repository(home)), title_justify="left")
    for column in ("model", "status", "detail"):
        table.add_column(column)
    for outcome in outcomes:
        style = STYLES[outcome.status]
        table.add_row(outcome.model, f"[{style}]{outcome.status}[/]", outcome.detail)
    console.print(table)
    if any(outcome.status is BuildStatus.FAILED for outcome in outcomes):
        raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    typer.run(build)
