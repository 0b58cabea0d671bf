"""Sees to it that a rating which is sent again counts once."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

KEPT = 10_000  # generations whose rating is remembered; the one rated longest ago is forgotten first


@dataclass(frozen=True)
class Rated:
    """A tenant's generation."""

    tenant: str
    generation_id: str


@dataclass(eq=False)
class Ratings:
    """Tells each rating once, and again only when it has changed; an async context manager that leaves no telling.

    What was told is remembered by this process: after a restart, or by another replica, a rating that is sent again is
    told again.
    """

    kept: int = KEPT
    _told: OrderedDict[Rated, int] = field(default_factory=OrderedDict)
    _under_way: dict[tuple[Rated, int], asyncio.Task[None]] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._under_way.values())
        if tasks:
            await asyncio.wait(tasks)  # each has its own end

    async def rate(self, rated: Rated, rating: int, tell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Return when `tell` has told this rating, now or before. Raises what `tell` raises; it may be tried again."""
        key = (rated, rating)
        while self._told.get(rated) != rating:
            task = self._under_way.get(key)
            if task is None:
                await asyncio.shield(self._start(key, tell))  # whoever goes away leaves the others theirs
                return
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is None:
                return
            # It was told in another caller's time, which may have been shorter than this one's.

    def _start(
        self, key: tuple[Rated, int], tell: Callable[[], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[None]:
        task = self._under_way[key] = asyncio.create_task(tell())
        task.add_done_callback(lambda done: self._settle(key, done))
        return task

    def _settle(self, key: tuple[Rated, int], done: asyncio.Task[None]) -> None:
        del self._under_way[key]
        if done.cancelled() or done.exception() is not None:
            return
        rated, rating = key
        self._told[rated] = rating
        self._told.move_to_end(rated)
        if len(self._told) > self.kept:
            self._told.popitem(last=False)
