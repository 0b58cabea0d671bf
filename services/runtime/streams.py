"""Messages that a caller sends one after the other, while the server holds room for it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long a caller may keep its stream waiting, in seconds; the time that its messages are worked on is not counted."""

    idle: float
    """Between two messages."""
    whole: float
    """Altogether: a trickle of small messages would else hold the room for as long as a call may last."""


async def arriving(messages: AsyncIterator[T], what: str, patience: Patience) -> AsyncIterator[T]:
    """Yield the messages of `what` (`the video`) as they come.

    Raises MeshError DEADLINE_EXCEEDED when the caller keeps it waiting for longer than `patience` has.
    """
    clock = asyncio.get_running_loop().time
    source, waited = aiter(messages), 0.0
    while True:
        began = clock()
        limit = min(patience.idle, patience.whole - waited)
        try:
            async with asyncio.timeout(limit):
                message = await anext(source, None)
        except TimeoutError:
            raise _too_slow(what, patience, limit) from None
        if message is None:
            return
        waited += clock() - began
        yield message


def _too_slow(what: str, patience: Patience, limit: float) -> MeshError:
    if limit == patience.idle:
        rule = f"no message of {what} came for {patience.idle:g} s; send it again without pauses"
    else:
        rule = f"messages of {what} kept the server waiting for {patience.whole:g} s; send it faster, or in pieces"
    return MeshError(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, rule)
