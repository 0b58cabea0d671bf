"""How a model is told in a line of a terminal: its state in colour, its memory, its licence."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

COLOURS = {
    "ready": "green",
    "loadable": "cyan",
    "loading": "blue",
    "unloading": "blue",
    "quarantined": "red",
    "not built": "yellow",
    "needs weights": "magenta",
}
NONCOMMERCIAL = "[red]nc[/]"
PIPE_COLUMNS = 200
"""Width of what is read by a program or kept in a file: nothing is worth folding there."""
NARROW_COLUMNS = 110
"""Below this a table leaves out what can be told in another place."""
WHOLE = {"model", "task", "state", "memory", "component", "max error", "tolerance", "file", "sha256"}
"""Columns that are copied from, so never folded."""


def console(*, stderr: bool = False) -> Console:
    """Return what is printed to: as wide as the terminal, or wide enough where there is none."""
    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=PIPE_COLUMNS)


def is_narrow(console: Console) -> bool:
    """Tell whether a table has to do without a column or two."""
    return console.width < NARROW_COLUMNS


def table(*columns: str) -> Table:
    """Return an empty table with these columns."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        numbers = column in ("memory", "size")
        made.add_column(
            column, justify="right" if numbers else "left", overflow="fold", no_wrap=column in WHOLE
        )
    return made


def state(word: str) -> str:
    """Return a state in its colour."""
    return f"[{COLOURS.get(word, 'dim')}]{word}[/]"


def licence(spdx: str, commercial_use: bool) -> str:
    """Return a licence, marked when it forbids commercial use."""
    return escape(spdx) if commercial_use else f"{escape(spdx)} {NONCOMMERCIAL}"


def memory(size: int) -> str:
    """Return bytes as MiB or GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
