"""Builds as they happen: what each model is at and for how long, and what every finished stage took."""

import time
from threading import Lock
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

TELLING_SECONDS = 1.0
"""A stage that took less is not worth a line of its own."""


class BuildProgress:
    """A line for each model while it is built; for one model `alone`, a line for each finished stage as well.

    `tell` may be called from any thread.
    """

    def __init__(self, console: Console, *, alone: bool) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._alone = alone
        self._lock = Lock()
        self._tasks: dict[str, TaskID] = {}
        self._stage: tuple[str, float] | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._close_stage()
        self._progress.stop()

    def tell(self, model: str, stage: str) -> None:
        """Say what a model is at now."""
        with self._lock:
            description = f"[bold]{model}[/]  {escape(stage)}"
            if model not in self._tasks:
                self._tasks[model] = self._progress.add_task(description, total=None)
            self._progress.update(self._tasks[model], description=description)
            if self._alone:
                self._close_stage()
                self._stage = stage, time.monotonic()

    def _close_stage(self) -> None:
        if self._stage is None:
            return
        stage, since = self._stage
        self._stage, took = None, time.monotonic() - since
        if took >= TELLING_SECONDS:
            self._progress.console.print(f"  [green]✓[/] {escape(stage)} [dim]{took:.1f} s[/]")
