"""Not waiting for what has failed several times in a row."""

import time
from collections.abc import Callable

FAILURES = 3
PAUSE_SECONDS = 30.0


class Circuit:
    """Closed until FAILURES calls in a row have failed; open for PAUSE_SECONDS then, after which one call may try."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures = 0
        self._not_before = 0.0

    def admits(self) -> bool:
        """Tell whether to call. After a pause the first who asks may; the others wait for what comes of it."""
        if self._failures < FAILURES:
            return True
        if self._now() < self._not_before:
            return False
        self._not_before = self._now() + PAUSE_SECONDS
        return True

    def succeeded(self) -> None:
        """Take in that it answered, whatever the answer is worth."""
        self._failures = 0

    def failed(self) -> None:
        """Take in that it did not answer."""
        self._failures += 1
        self._not_before = self._now() + PAUSE_SECONDS
