"""`vmesh models list`: the catalogue, and what of it is built here."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from scrollintel.visual.running import default_home
from services.models.catalogue import read_catalogue
from services.models.entry import RepositorySource
from services.models.presence import missing_weights, served_repository


def run(home: Path | None) -> None:
    """Print the catalogue."""
    home = (home or default_home()).expanduser()
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("model", "task", "licence", "state", ""):
        table.add_column(column)
    for model in read_catalogue().values():
        built = (served_repository(home) / model.name).exists()
        committed = isinstance(model.source, RepositorySource)
        if built:
            state, remedy = "[green]built[/]", ""
        elif committed and missing_weights(model, home):
            state, remedy = "[yellow]needs weights[/]", "train and export it (models/house)"
        else:
            state, remedy = "[yellow]not built[/]", f"vmesh models build {model.name}"
        table.add_row(model.name, model.task, model.licence.spdx, state, remedy)
    Console().print(table)
