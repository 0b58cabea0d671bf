"""The time a call has left, and what each outgoing call may have of it.

gRPC in Python passes neither deadlines nor cancellation on by itself; the deadline layer sets the variable here for
every incoming call, and `channels.connect` reads it for every outgoing one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError

MARGIN_SECONDS = 0.02  # kept back so that the answer of a late dependency can still be told to the caller

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def until(seconds: float | None) -> Iterator[None]:
    """Give the code inside `seconds` from now; None gives no limit, and never more than an outer limit allows."""
    outer = _deadline.get()
    own = None if seconds is None else time.monotonic() + seconds
    limits = [limit for limit in (outer, own) if limit is not None]
    token = _deadline.set(min(limits, default=None))
    try:
        yield
    finally:
        _deadline.reset(token)


def remaining() -> float | None:
    """Return the seconds left, possibly negative, or None when there is no limit."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def budget(own_seconds: float) -> float:
    """Return the timeout for an outgoing call: its own budget, or what is left when that is less.

    Raises MeshError DEADLINE_EXCEEDED when nothing is left, so that no work starts that nobody waits for.
    """
    left = remaining()
    if left is None:
        return own_seconds
    if left <= MARGIN_SECONDS:
        raise MeshError(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, "the deadline passed")
    return min(own_seconds, left - MARGIN_SECONDS)
