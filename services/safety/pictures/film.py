"""A video as it is checked: some of its frames at one time, and of what was found the worst of each kind."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from traceback import clear_frames

from services.runtime.threads import in_thread
from services.safety.category import Category, Signal
from services.safety.pictures.checker import Pixels, Shown
from services.safety.pictures.panel import Panel, Seen
from services.safety.pictures.sampling import Sampler, glance
from services.safety.verdict import Check


@dataclass
class Film:
    """Shows frames to the panel as they come; made by `filming`, which stops what is left of it.

    It holds the frames that are being looked at and one more, the latest, since only the end tells which one is the last.
    """

    panel: Panel
    like: Shown
    """Whose policy all frames are judged by, and which it was when the first came."""
    sampler: Sampler
    room: asyncio.Semaphore
    group: asyncio.TaskGroup
    frames: int = 0
    checked: int = 0
    _latest: tuple[Pixels, int] | None = None
    _found: dict[int, Seen] = field(default_factory=dict)

    async def add(self, picture: Pixels, number: int, shown_at: float | None) -> None:
        """Take the next frame, UINT8 [H,W,3], by the caller's number for it; waits while others fill the room.

        `shown_at` is in seconds from the start, None where nobody said.
        """
        small = await in_thread(glance, picture)
        self.frames += 1
        if self.sampler.takes(small, shown_at):
            self._latest = None
            await self._begin(picture, number)
        else:
            self._latest = picture, number

    async def end(self) -> None:
        """Look at the last frame, too, where it was not chosen."""
        if self._latest is not None:
            await self._begin(*self._latest)

    def seen(self) -> Seen:
        """Return what the panel saw in all frames, when all have been looked at; there is at least one."""
        return union([self._found[number] for number in sorted(self._found)])

    async def _begin(self, picture: Pixels, number: int) -> None:
        await self.room.acquire()
        self.checked += 1
        self.group.create_task(self._look(picture, number))

    async def _look(self, picture: Pixels, number: int) -> None:
        try:
            seen = await self.panel.look(replace(self.like, pixels=picture), f"frame {number}")
        finally:
            self.room.release()
        self._found[number] = union([_named(seen, number)])


@asynccontextmanager
async def filming(panel: Panel, like: Shown, sampler: Sampler, at_once: int) -> AsyncIterator[Film]:
    """Give a film, of which `at_once` frames are looked at at one time, and wait until all of them have been.

    Raises what the panel raises of the first frame that could not be checked, as soon as it does.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield Film(panel, like, sampler, asyncio.Semaphore(at_once), group)
    except BaseExceptionGroup as several:
        first = several.exceptions[0]
        clear_frames(several.__traceback__)  # where it holds itself, and with it the frames of the video
    else:
        return
    try:
        raise first
    finally:
        del first


def union(found: Sequence[Seen]) -> Seen:
    """Return as one what was seen in several frames or views: each check with the worst that it found of each category.

    Of equals the first counts. They have the same checks in the same order; one that was not run on some of them
    was not run.
    """
    checks = [_joined(of_one) for of_one in zip(*(seen.checks for seen in found), strict=True)]
    return Seen(checks, max(seen.risk for seen in found))


def _joined(checks: Sequence[Check]) -> Check:
    worst: dict[tuple[Category, str], Signal] = {}
    for check in checks:
        for signal in check.signals:
            kind = (signal.category, signal.checker)
            if kind not in worst or signal.severity > worst[kind].severity:
                worst[kind] = signal
    return Check(checks[0].checker, list(worst.values()), max(check.went for check in checks))


def _named(seen: Seen, number: int) -> Seen:
    return replace(
        seen,
        checks=[
            replace(check, signals=[_in_frame(signal, number) for signal in check.signals])
            for check in seen.checks
        ],
    )


def _in_frame(signal: Signal, number: int) -> Signal:
    return replace(signal, evidence=f"frame {number}: {signal.evidence}")
