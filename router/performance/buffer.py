"""Runs that wait to be written, as many as there is room for: the oldest go first when there is none. Pure."""

import secrets
from collections import deque
from typing import NamedTuple

from router.runs import Run

NONCE_BITS = 63  # what a signed column holds


class Waiting(NamedTuple):
    """A run that waits, under the number that it is recorded once by."""

    nonce: int
    run: Run


class Buffer:
    """Runs in the order that they ended."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, run: Run) -> int:
        """Add a run; return how many were dropped to make room."""
        self._waiting.append(Waiting(secrets.randbits(NONCE_BITS), run))
        return self._trim()

    def take(self, size: int) -> list[Waiting]:
        """Take out up to `size` of the oldest."""
        return [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]

    def put_back(self, taken: list[Waiting]) -> int:
        """Put runs that were taken back to where they were; return how many had no room any more."""
        self._waiting.extendleft(reversed(taken))
        return self._trim()

    def _trim(self) -> int:
        surplus = max(0, len(self._waiting) - self._capacity)
        self.take(surplus)
        return surplus
