"""Banding: steps where brightness should glide, as too few levels make them.

The share of all change of brightness that comes in clean steps: from 2 levels to `LARGEST`, one pixel wide, with ground
on both sides that changes by a quarter of the step at most. Lenses, grain and drawn (smoothed) edges leave hardly any,
quantisation nothing but those. Steps of one level are how 8 bits draw a glide, and larger ones than `LARGEST` are
somebody's edges. Candidates and their two-sided test are CAMBI's idea (Tandon et al., "CAMBI: Contrast-aware Multiscale
Banding Index", PCS 2021), without its model of contrast: a step is counted whether or not its contrast can be seen.

scikit-image's photographs have shares up to 0.007 (a scan of the moon, which is banded, 0.06), the shipped drawings 0.002;
with 16 levels left they have 0.02 to 0.3, and a plain gradient 0.99. A banded picture that went through JPEG or a blur
shows none: its steps are no longer clean.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from services.quality.metrics.luminance import Floats

NAME = "clean-steps/1"
SMALLEST, LARGEST = 2, 48
SIDES = 4  # a step is so many times what changes beside it
CLEAN, SCALE = 0.01, 0.2  # the share that is no fault; what is above it by 0.2 scores 1/e

Levels = npt.NDArray[np.uint8]


def banding(luminance: Floats) -> float:
    """Return exp(-(share - 0.01) / 0.2), at most 1, of [H, W] luminance of whole levels in [0, 255]."""
    return math.exp(-max(0.0, step_share(luminance) - CLEAN) / SCALE)


def step_share(luminance: Floats) -> float:
    """Return the share of change, along both axes, that comes in clean steps; 0 where nothing changes."""
    levels = luminance.astype(np.uint8)
    along, down = (_changes(values) for values in (levels, np.ascontiguousarray(levels.T)))
    whole = along[1] + down[1]
    return (along[0] + down[0]) / whole if whole else 0.0


def _changes(levels: Levels) -> tuple[int, int]:
    """Return the sum of clean steps along the second axis, and of all steps."""
    if levels.shape[1] < 2:
        return 0, 0
    steps = cv2.absdiff(levels[:, 1:], levels[:, :-1])
    whole = int(steps.sum(dtype=np.int64))
    if steps.shape[1] < 5:
        return 0, whole
    step = steps[:, 2:-2]
    beside = np.maximum(np.maximum(steps[:, :-4], steps[:, 1:-3]), np.maximum(steps[:, 3:-1], steps[:, 4:]))
    clean = (step >= SMALLEST) & (step <= LARGEST) & (beside <= step // SIDES)
    return int((step * clean).sum(dtype=np.int64)), whole
