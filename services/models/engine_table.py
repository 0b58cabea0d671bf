"""What became of engines, as a table."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from services.models.tensorrt.engines import EngineOutcome

STYLES = {"promoted": "green", "verified": "cyan", "built": "yellow", "failed": "red"}


def print_engines(console: Console, outcomes: "list[EngineOutcome]") -> bool:
    """Print each component's engine and what is to be done about it; returns whether none failed."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("component", "engine", "precision", "status", "max error", "tolerance", "MiB", "seconds"):
        table.add_column(column)
    for each in outcomes:
        record, status = each.record, f"[{STYLES[each.status]}]{each.status}[/]"
        if record is None:
            table.add_row(each.component, "", "", status)
            continue
        error = "" if record.error is None else f"{record.error:.1e}"
        allowed = "" if record.tolerance is None else f"{record.tolerance:.0e}"
        size, seconds = f"{record.size_bytes / 2**20:.1f}", f"{record.seconds:.1f}" if each.built else ""
        table.add_row(each.component, record.place, record.precision, status, error, allowed, size, seconds)
    console.print(table)
    for each in outcomes:
        if each.detail:
            console.print(f"[bold]{each.component}[/]: {escape(each.detail)}", soft_wrap=True)
    return all(each.status != "failed" for each in outcomes)
