"""A generation as it happens: a line for each moment, and below them a bar and previews while there is work."""

import time
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from scrollintel.visual.cli import png, preview, wording
from scrollintel.visual.events import Completed, Event, Failed, Output, Preview, Step

LABEL_COLUMNS = 10
BAR_COLUMNS = 36
REFRESHES = 8
"""A second; a redraw is cheap and a step takes longer."""


class Timeline:
    """Draws events on a console, live where it is a terminal and line by line where it is not."""

    def __init__(self, console: Console, *, previews: bool) -> None:
        self._console = console
        self._previews = previews and preview.can_show(console)
        self._pictures: dict[int, list[Text]] = {}
        self._started: datetime | None = None
        self._progress: tuple[float, int] | None = None
        self._note = "sending"
        self._noted = time.monotonic()
        self._spinner = Spinner("dots")
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            # Transient: what is under way leaves nothing behind, its outcome is a line above.
            self._live = Live(
                console=self._console,
                get_renderable=self._under_way,
                refresh_per_second=REFRESHES,
                transient=True,
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
        """Say what is waited for, until the next event."""
        self._note, self._noted, self._progress = text, time.monotonic(), None

    def progress(self, done: float, total: int) -> None:
        """Show how much of what was last noted is done; a part of a piece counts in the bar alone."""
        self._progress = (done, total)

    def show(self, event: Event) -> None:
        """Draw one event."""
        self._started = self._started or event.time
        match event:
            case Preview() if self._previews:
                self._keep(event)
            case Step():
                self._progress = (event.k, event.n) if event.k < event.n else None
            case Output():
                self._pictures.pop(event.index, None)
            case Completed() | Failed():
                self._pictures.clear()
        waiting = wording.waiting(event)
        if waiting and waiting != self._note:
            self._note, self._noted = waiting, time.monotonic()
        said = wording.line(event)
        if said:
            self.line((event.time - self._started).total_seconds(), *said)

    def line(self, seconds: float | None, label: str, text: str) -> None:
        """Print one line that stays; more lines of its text are aligned under the first."""
        row = Table.grid(padding=(0, 2))
        row.add_column(width=9, justify="right", style="dim", no_wrap=True)
        row.add_column(width=LABEL_COLUMNS, style="cyan", no_wrap=True)
        row.add_column(overflow="fold")
        row.add_row("" if seconds is None else f"{seconds:.2f} s", label, text)
        self._console.print(row)

    def _keep(self, event: Preview) -> None:
        try:
            self._pictures[event.index] = preview.half_blocks(png.decode(event.image))
        except ValueError:
            # A preview of a kind that is not read here is no reason to disturb the generation.
            self._previews = False

    def _under_way(self) -> RenderableType:
        row = Table.grid(padding=(0, 2))
        row.add_column(width=9, justify="right")
        row.add_column(width=LABEL_COLUMNS, style="cyan", no_wrap=True)
        row.add_column()
        row.add_column(style="dim")
        if self._progress:
            done, total = self._progress
            bar = ProgressBar(total=total, completed=done, width=BAR_COLUMNS)
            row.add_row(self._spinner, self._note, bar, f"{int(done)}/{total}")
        else:
            row.add_row(self._spinner, self._note, f"[dim]{time.monotonic() - self._noted:.1f} s[/]", "")
        if not self._pictures:
            return row
        return Group(row, Text(), preview.side_by_side(self._pictures, self._console.width))
