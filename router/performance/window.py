"""Which rows of a growing table were seen, where numbers may turn up late. Pure.

PostgreSQL numbers a row when it is inserted and shows it when its transaction is committed, so that a row may turn up
after others with higher numbers. Who only asks for what is above the highest number loses it. All numbers above a floor
are asked for again, therefore, and the floor follows the numbers at a distance: a transaction that had a number when a
higher one was seen is over `SETTLED_SECONDS` later, one way or the other.
"""

from collections.abc import Iterable

SETTLED_SECONDS = 30.0  # a statement is ended after 10 s, and a transaction of ours has three at most
REMEMBERED = 50_000  # numbers; 30 s at more than 1,500 runs a second would be more


class Window:
    """Numbers seen above `floor`; what is at the floor or below has been seen or will never be there."""

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self._seen: dict[int, float] = {}

    def __contains__(self, number: int) -> bool:
        return number <= self.floor or number in self._seen

    def see(self, numbers: Iterable[int], now: float) -> None:
        """Take in numbers seen at `now`, in seconds of a clock that never goes back, and raise the floor."""
        for number in numbers:
            if number not in self:
                self._seen[number] = now
        # In the order of their first sight; those that came late are dropped with the higher ones before them.
        surplus = len(self._seen) - REMEMBERED
        settled = [
            number
            for place, (number, at) in enumerate(self._seen.items())
            if place < surplus or at <= now - SETTLED_SECONDS
        ]
        if settled:
            self.floor = max(settled)
            self._seen = {number: at for number, at in self._seen.items() if number > self.floor}
