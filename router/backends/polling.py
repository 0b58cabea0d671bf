"""Asks a provider again and again until a job has ended, and once more after failures that pass by themselves."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError

Answer = TypeVar("Answer")

DOUBLINGS = 3
JITTER = 0.5
"""Of a pause at most, added by chance after a failure: many jobs shall not ask again in one moment."""
FEW = 3


class AgainError(Exception):
    """A question failed in a way that may pass. `error` is told where it does not pass in time.

    `wait` is what the provider advised, in seconds. Where `few` is set, only `FEW` failures in a row are waited out.
    """

    def __init__(self, error: MeshError, wait: float = 0.0, *, few: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait = wait
        self.few = few


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a provider is asked: every `seconds`, and up to eight times as slowly while it fails."""

    seconds: float

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        grown: float = self.seconds * 2 ** min(failures, DOUBLINGS)
        return grown * (1 + JITTER * random.random()) if failures else grown  # noqa: S311


QUICKLY = Pace(0.1)


async def polled(
    ask: Callable[[], Awaitable[Answer]], pace: Pace, timeout: float
) -> AsyncGenerator[Answer, None]:
    """Yield what `ask` returns, again and again at a pace, for as long as the caller wants to see more.

    Raises MeshError: what `ask` raises, that of an AgainError which does not pass in `timeout` seconds, DEADLINE_EXCEEDED.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + timeout
    failures = 0
    last = _late()
    while True:
        try:
            async with asyncio.timeout_at(until):
                answer = await ask()
        except TimeoutError:
            raise last from None
        except AgainError as again:
            failures, last = failures + 1, again.error
            pause = max(again.wait, pace.pause(failures))
            if clock() + pause >= until or (again.few and failures > FEW):
                raise last from None
        else:
            failures, last, pause = 0, _late(), pace.pause(0)
            yield answer
        await asyncio.sleep(max(0.0, min(pause, until - clock())))


async def persistently(ask: Callable[[], Awaitable[Answer]], pace: Pace, timeout: float) -> Answer:
    """Return what `ask` returns, asking again after failures that pass. Raises MeshError as `polled` does."""
    async with aclosing(polled(ask, pace, timeout)) as answers:
        return await anext(answers)


async def confirmed(ask: Callable[[], Awaitable[bool]], timeout: float) -> bool:
    """Return what the provider answers about stopping a job, False where it does not in time."""
    try:
        return await persistently(ask, QUICKLY, timeout)
    except MeshError:
        return False


def _late() -> MeshError:
    message = "the provider did not finish in time"
    return MeshError(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, message)
