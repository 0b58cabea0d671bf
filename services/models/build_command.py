"""`vmesh models build`, and `python -m services.models.build`: build models and show what became of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scrollintel.visual import running
from services.models.build import BuildStatus, Outcome, Progress, Site, build_one, build_repository
from services.models.build_progress import BuildProgress
from services.models.catalogue import CatalogueError
from services.models.order import Order, read_lora, read_precision
from services.models.presence import served_repository
from services.models.settings import Settings

STYLES = {
    BuildStatus.BUILT: "green",
    BuildStatus.UNCHANGED: "dim",
    BuildStatus.NEEDS_WEIGHTS: "yellow",
    BuildStatus.REFUSED: "yellow",
    BuildStatus.FAILED: "red",
}
STALE = (
    "a mesh runs here, and what it has in memory stays as it was: `vmesh models unload NAME`, or for a pinned model "
    "start the mesh again"
)
INTERRUPTED = 130
USAGE = 2
FOR_ONE = "--weights, --precision, --lora, --name and --target tensorrt"
WRONG_WHEN_NAMED = {BuildStatus.FAILED, BuildStatus.REFUSED, BuildStatus.NEEDS_WEIGHTS}


def build(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Models to build; all but the optional ones when none is named."),
    ] = None,
    home: Annotated[Path, typer.Option(envvar="VMESH_HOME", help="Where builds are kept.")] = Path(
        "~/.visual-mesh"
    ),
    allow_noncommercial: Annotated[
        bool, typer.Option(help="Build models whose licence forbids commercial use.")
    ] = False,
) -> None:
    """Fetch, check and convert weights, and make the repository that Triton serves."""
    raise typer.Exit(run(models or [], home, allow_noncommercial=allow_noncommercial))


@dataclass(frozen=True)
class Options:
    """What a command line asks of one build, as it was typed."""

    weights: Path | None = None
    precision: str | None = None
    loras: tuple[str, ...] = ()
    name: str | None = None

    def order(self) -> Order | None:
        """Return what they ask beyond the entry; None when that is nothing. Raises CatalogueError."""
        if self == Options():
            return None
        weights = self.weights.expanduser().absolute() if self.weights else None
        precision = read_precision(self.precision) if self.precision else None
        return Order(weights, precision, tuple(map(read_lora, self.loras)), self.name)


def run(
    names: list[str],
    home: Path,
    options: Options = Options(),
    *,
    allow_noncommercial: bool = False,
    engines: bool = False,
    sm: int | None = None,
) -> int:
    """Build and print; returns the exit code: 0 all is built, 1 something is not, 2 usage, 130 stopped.

    With any of the options, or `engines` (TensorRT's, for compute capability `sm`) to be built, one model is named.
    """
    console, home = Console(), home.expanduser()
    try:
        order = options.order()
        if (order or engines) and len(names) != 1:
            raise CatalogueError(f"{FOR_ONE} are for one model at a time; {len(names) or 'none'} named")
        if sm is not None and not engines:
            raise CatalogueError("--sm: is for engines: --target tensorrt")
        before = set(served_repository(home).glob("[!.]*"))
        with BuildProgress(console, alone=len(names) == 1) as progress:
            outcomes = _build(names, home, order, progress.tell, allow_noncommercial)
    except (CatalogueError, ValueError, OSError) as error:  # OSError: a home that cannot be written to
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return USAGE
    except KeyboardInterrupt:
        console.print("[yellow]stopped[/]; nothing half-built was left, and what was served before still is")
        return INTERRUPTED
    console.print(f"[dim]{escape(str(served_repository(home)))}[/]", soft_wrap=True, highlight=False)
    console.print(_table(outcomes))
    for outcome in outcomes:
        if outcome.detail:
            console.print(f"\n[bold]{outcome.model}[/]: {escape(outcome.detail)}", soft_wrap=True)
    anew = [each.model for each in outcomes if each.status is BuildStatus.BUILT]
    if running.read(home) and (stale := [name for name in anew if served_repository(home) / name in before]):
        console.print(f"\n[bold]{', '.join(stale)}[/]: {STALE}", soft_wrap=True)
    bad = WRONG_WHEN_NAMED if names else {BuildStatus.FAILED}
    if any(outcome.status in bad for outcome in outcomes):
        return 1
    return add_engines(console, outcomes[0].model, home, options.precision, sm) if engines else 0


def add_engines(console: Console, name: str, home: Path, precision: str | None, sm: int | None) -> int:
    """Build TensorRT engines for a built model and print them; returns the exit code, as `run` does."""
    from services.models.engine_table import print_engines
    from services.models.engines import build_engines_of

    try:
        with BuildProgress(console, alone=True) as progress:
            chosen = read_precision(precision) if precision else None
            tell = lambda stage: progress.tell(name, stage)  # noqa: E731
            outcomes = build_engines_of(name, home, tell, precision=chosen, sm=sm)
    except CatalogueError as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return USAGE
    except KeyboardInterrupt:
        console.print("[yellow]stopped[/]; engines that were finished stay, no half-made one was left")
        return INTERRUPTED
    except Exception as error:  # the builder's own errors say what to do
        console.print(f"[red]{name}: no engines:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    return 0 if print_engines(console, outcomes) else 1


def _build(
    names: list[str], home: Path, order: Order | None, tell: Progress, allow_noncommercial: bool
) -> list[Outcome]:
    allowed = Settings(home=home).allow_noncommercial
    if order is None and len(names) != 1:
        return build_repository(
            home, names or None, tell, allow_noncommercial=allow_noncommercial, allowed=allowed
        )
    # One alone is built in this thread, so that Ctrl-C ends it wherever it is.
    return [build_one(names[0], order or Order(), Site(home, tell, allow_noncommercial, allowed))]


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("model", "status"):
        table.add_column(column, no_wrap=True)
    for outcome in outcomes:
        style = STYLES[outcome.status]
        table.add_row(outcome.model, f"[{style}]{outcome.status}[/]")
    return table


def main() -> None:
    """Run the command."""
    typer.run(build)
