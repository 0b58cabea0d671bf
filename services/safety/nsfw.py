"""How a picture is shown to the networks that look for nudity, and how bad an answer is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.safety.category import WORST

MODEL = "nsfw_open_nsfw"
SIDE = 224  # what the network reads
_RESIZED = 256  # what its authors resize to before they crop the centre
_LONG = (
    2.0  # beyond this ratio of sides a squeezed picture cannot be read any more, and squares are cut from it
)
_MOST_SQUARES = 14  # with the two whole views, one batch of the model

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Scale:
    """Severities by probability: pairs of (least probability, severity), rising."""

    steps: Sequence[tuple[float, int]]

    @classmethod
    def parse(cls, data: Sequence[Mapping[str, float]]) -> "Scale":
        """Read `[{probability, severity}, ...]`; raises ValueError unless both are in range and rise."""
        steps = [(float(step["probability"]), int(step["severity"])) for step in data]
        if not steps or any(not 0 < p <= 1 or not 1 <= severity <= WORST for p, severity in steps):
            raise ValueError("probabilities must be in (0, 1] and severities from 1 to 7")
        if any(p >= next_p or severity >= worse for (p, severity), (next_p, worse) in pairwise(steps)):
            raise ValueError("probabilities and severities must rise from step to step")
        return cls(tuple(steps))

    @property
    def worst(self) -> int:
        """The severity of the highest step."""
        return self.steps[-1][1]

    def severity(self, probability: float) -> int:
        """Return the severity of the highest step reached, 0 below the first.

        Raises ValueError for what is no probability, so that a broken model is never taken for a safe picture.
        """
        if not (math.isfinite(probability) and 0 <= probability <= 1):
            raise ValueError(f"not a probability: {probability}")
        return max((severity for least, severity in self.steps if probability >= least), default=0)


def views(picture: Pixels) -> Pixels:
    """Return what to show the network: UINT8 [N,224,224,3] for a picture UINT8 [H,W,3], N from 2 to 16.

    First as its authors do it, the whole squeezed to 256 and its centre cut out; then the whole squeezed to 224, since
    the centre leaves out the borders; then, of long pictures, squares along the longer side. The worst view counts.
    """
    whole = Image.fromarray(picture)
    margin = (_RESIZED - SIDE) // 2
    centre = _resize(whole, _RESIZED).crop((margin, margin, margin + SIDE, margin + SIDE))
    shown = [centre, _resize(whole, SIDE), *(_resize(whole.crop(box), SIDE) for box in squares(*whole.size))]
    return np.stack([np.asarray(view, dtype=np.uint8) for view in shown])


def squares(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return boxes (left, top, right, bottom) that cover a long picture with squares; none for other pictures."""
    short, long = sorted((width, height))
    if long <= _LONG * short:
        return []
    count = min(_MOST_SQUARES, math.ceil(long / short))
    side = max(short, math.ceil(long / count))
    starts = [round(index * (long - side) / (count - 1)) for index in range(count)]
    if width >= height:
        return [(start, 0, start + side, height) for start in starts]
    return [(0, start, width, start + side) for start in starts]


def _resize(picture: Image.Image, side: int) -> Image.Image:
    """Resize to a square; Pillow's filter widens when it shrinks, so that detail is averaged and not skipped."""
    return picture.resize((side, side), Image.Resampling.BILINEAR)
