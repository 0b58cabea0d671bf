"""Sharpness: how much detail a further blur would take away.

Crété, Dolmière, Ladret and Nicolas, "The blur effect: perception and estimation with a new no-reference perceptual
blur metric", SPIE Human Vision and Electronic Imaging XII, 2007. A picture that is sharp changes a lot when it is
blurred once more; one that is blurred already hardly changes. The measure weighs by the size of the steps, so plain
grounds count for nothing. Noise counts as detail: the technical score answers for that.
"""

import cv2
import numpy as np

from services.quality.metrics.luminance import Floats

NAME = "blur-effect/1"
WINDOW = 9  # the paper's averaging window


def sharpness(luminance: Floats) -> float | None:
    """Return 1 - blur effect of [H, W] luminance: 0 blurred beyond recognition, 1 as sharp as pixels can be.

    None when there is no step at all in the picture, which is neither sharp nor blurred.
    """
    ratios = [_lost(luminance, axis) for axis in (0, 1)]
    known = [ratio for ratio in ratios if ratio is not None]
    return min(known) if known else None


def _lost(luminance: Floats, axis: int) -> float | None:
    """Share of the steps along `axis` that an average over `WINDOW` pixels along it takes away."""
    if luminance.shape[axis] < 2:
        return None
    blurred = cv2.blur(luminance, (1, WINDOW) if axis == 0 else (WINDOW, 1))
    steps, kept = (_steps(values, axis) for values in (luminance, np.asarray(blurred, np.float32)))
    total = float(steps.sum())
    if total <= 0:
        return None
    taken = np.subtract(steps, kept, out=kept)
    return float(np.maximum(taken, 0, out=taken).sum()) / total


def _steps(values: Floats, axis: int) -> Floats:
    one, next_one = (values[:-1], values[1:]) if axis == 0 else (values[:, :-1], values[:, 1:])
    return np.asarray(cv2.absdiff(one, next_one), np.float32)
