"""How fast a backend draws, learned from what it took. Pure.

One figure per backend, seconds per step and image, smoothed exponentially. It knows nothing of cold starts or of what
a larger batch saves.
"""

from dataclasses import dataclass

SMOOTHING = 0.2  # weight of the newest request: ten requests forget nine tenths of what was before


@dataclass(slots=True)
class Pace:
    """Seconds per step and image, above 0; starts at a measured value."""

    seconds: float

    def observe(self, seconds: float, steps: int, images: int) -> None:
        """Learn from a request that took `seconds` for all its `steps` and `images`."""
        self.seconds += SMOOTHING * (seconds / (steps * images) - self.seconds)
