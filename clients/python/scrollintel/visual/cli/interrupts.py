"""Ctrl-C while a generation runs."""

import asyncio
import contextlib
import signal
from typing import Self

from scrollintel.visual import Generation, VisualMeshError
from scrollintel.visual.cli.timeline import Timeline


class Interrupts:
    """The first Ctrl-C stops the generation and waits for it to say so; the second one leaves at once.

    While there is no generation, the first one leaves. A context manager, of the task that is to be left.
    """

    def __init__(self) -> None:
        self._generation: Generation | None = None
        self._timeline: Timeline | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._task = asyncio.current_task()

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def stop(self, generation: Generation, timeline: Timeline) -> None:
        """Name the generation that Ctrl-C stops from now on."""
        self._generation, self._timeline = generation, timeline

    def forget(self) -> None:
        """The generation has ended: there is nothing more to stop but the task."""
        self._generation = None

    @property
    def asked(self) -> bool:
        """Whether a generation was to be stopped, though it may have ended before it heard."""
        return self._stopping is not None

    def _interrupt(self) -> None:
        if self._generation and self._timeline and not self._stopping:
            self._timeline.note("cancelling")
            self._stopping = asyncio.create_task(_cancel(self._generation))
        elif self._task:
            self._task.cancel()


async def _cancel(generation: Generation) -> None:
    # A mesh that cannot be told is left: the stream is closed either way, and its reader hears why it ended.
    with contextlib.suppress(VisualMeshError):
        await generation.cancel()
