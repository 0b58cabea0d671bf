"""Reads from a provider's answers until when it wants to be left alone."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from services.runtime.errors import DEFAULT_RETRY_SECONDS

MAX_SECONDS = 600.0
"""The longest wait that is believed: a slip in a header shall not take a provider out for a day."""
RETRY_AFTER = "retry-after"
REMAINING, RESET = "x-ratelimit-remaining", "x-ratelimit-reset"
EPOCH = 1e9
"""A reset beyond this is a point in time, not a span."""
SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class RateLimit:
    """One account's limit at a provider, as its last answers told it. `clock` is monotonic, `now` since the epoch."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._now = now
        self._until = 0.0

    def read(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Take in an answer, header names in lower case; return the seconds to wait, None when it asks for none.

        A 429 asks for a wait even where it does not say how long.
        """
        if status < HTTPStatus.BAD_REQUEST:  # there, Retry-After says when to look at a job again
            headers = {name: value for name, value in headers.items() if not name.startswith(RETRY_AFTER)}
        seconds = wait_told(headers, self._now())
        if status == HTTPStatus.TOO_MANY_REQUESTS and seconds is None:
            seconds = DEFAULT_RETRY_SECONDS
        if seconds is not None:
            self._until = max(self._until, self._clock() + seconds)
        return seconds

    def wait(self) -> float:
        """Return the seconds until it may be asked again, 0 when it may be asked now."""
        return max(0.0, self._until - self._clock())


def wait_told(headers: Mapping[str, str], now: float) -> float | None:
    """Return the longest wait in seconds that an answer's headers ask for, at most MAX_SECONDS, None without one.

    Read are Retry-After (RFC 9110, seconds or a date), retry-after-ms, and x-ratelimit-reset-* of whatever has nothing
    left by x-ratelimit-remaining-*.
    """
    waits = [
        _span(headers.get("retry-after-ms", ""), 0.001),
        _retry_after(headers.get("retry-after", ""), now),
    ]
    for name, left in headers.items():
        if name.startswith(REMAINING) and _number(left) == 0:
            waits.append(_reset(headers.get(RESET + name.removeprefix(REMAINING), ""), now))
    told = [wait for wait in waits if wait is not None]
    return min(MAX_SECONDS, max(0.0, *told)) if told else None


def _retry_after(text: str, now: float) -> float | None:
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        told = parsedate_to_datetime(text)
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() - now
    except ValueError:
        return None


def _reset(text: str, now: float) -> float | None:
    number = _number(text)
    if number is not None:
        return number - now if number > EPOCH else number
    parts = SPAN.findall(text)
    return sum(float(amount) * UNITS[unit] for amount, unit in parts) if parts else None


def _span(text: str, unit: float) -> float | None:
    number = _number(text)
    return None if number is None else number * unit


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text.strip()) else None
