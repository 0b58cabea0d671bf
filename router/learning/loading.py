"""How long a backend takes to bring its model into memory. Pure."""

import math
from typing import NamedTuple

SMOOTHING = (
    0.3  # weight of the newest load: they are few, and the first one after a start reads from a cold disk
)


class Loading(NamedTuple):
    """The expected seconds of a load and their deviation; 0 and 0 where nobody has loaded yet."""

    seconds: float = 0.0
    deviation: float = 0.0

    def after(self, seconds: float) -> "Loading":
        """Return what is known after one more load: mean and variance, exponentially weighted (Finch, 2009)."""
        if not self.seconds:
            return Loading(seconds, seconds / 2)  # one load says little: it may be half as much again
        error = seconds - self.seconds
        variance = (1 - SMOOTHING) * (self.deviation**2 + SMOOTHING * error * error)
        return Loading(self.seconds + SMOOTHING * error, math.sqrt(variance))


NEVER = Loading()
