"""A comparison as it happens: for each model what it does now, live in a terminal, and a line when it has ended."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from scrollintel.visual.cli import wording
from scrollintel.visual.events import Completed, Event, Failed, Queued, Step

BAR_COLUMNS = 24
REFRESHES = 8  # a second


@dataclass
class _Row:
    doing: str = "waiting"
    share: float | None = None
    ended: bool = False
    began: float = field(default_factory=time.monotonic)


class Board:
    """Shows what every model is at; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._rows: dict[str, _Row] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._shown,
                refresh_per_second=REFRESHES,
                transient=True,  # what stays is a line for each model that has ended
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def note(self, text: str) -> None:
        """Say what is waited for while no model is at work."""
        self._title, self._rows = text, {}

    def begin(self, title: str, models: Sequence[str]) -> None:
        """Show these models at a new prompt."""
        self._title, self._rows = title, {model: _Row() for model in models}
        self._console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)

    def hear(self, model: str, event: Event) -> None:
        """Take in an event of a model."""
        row = self._rows[model]
        row.doing = wording.waiting(event) or row.doing
        match event:
            case Queued(position=position) if position:
                row.doing = f"waiting, position {position}"
            case Step():
                row.share = event.k / event.n if event.k < event.n else None
            case Completed() | Failed():
                row.ended = True
                label, said = wording.line(event) or ("", "")
                self._console.print(f"  [cyan]{escape(model)}[/] [dim]{label}[/] {said}", soft_wrap=True)

    def _shown(self) -> RenderableType:
        shown = Table.grid(padding=(0, 2))
        if not self._rows:
            shown.add_row(f"[dim]{escape(self._title)}[/]")
            return shown
        for model, row in self._rows.items():
            if row.ended:
                continue
            bar = ProgressBar(total=1, completed=row.share or 0, width=BAR_COLUMNS)
            seconds = f"[dim]{time.monotonic() - row.began:.1f} s[/]"
            shown.add_row(f"  [cyan]{escape(model)}[/]", row.doing, bar if row.share else "", seconds)
        return shown
