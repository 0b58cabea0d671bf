"""Faults that can be measured in a drawn picture: noise, blocks, and edges that are blurred.

Each is a factor in [0, 1], and the score is their product:

- noise: Immerkær, "Fast Noise Variance Estimation", Computer Vision and Image Understanding 64(2), 1996; the median
  takes the place of the mean, so that edges do not count as noise. exp(-deviation / 15).
- blocks: steps across an 8 × 8 grid beyond the steps beside it (after Wang, Bovik and Evans, "Blind Measurement of
  Blocking Artifacts in Images", ICIP 2000); medians over the grid's lines, so that an object's edge that happens to
  lie on one does not count. exp(-step / 8).
- blur: the sharpness (`sharpness.py`), taken as faultless from 0.5 up.
"""

import cv2
import numpy as np

from services.quality.metrics.luminance import Floats

NOISE_SCALE = 15.0
BLOCK_SCALE = 8.0
SHARP_ENOUGH = 0.5
GRID = 8
NORMAL_QUARTILE = 0.6745  # median of |x| for a standard normal x
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)  # its norm is 6


def artifacts(luminance: Floats, sharpness: float | None) -> float:
    """Return the product of the factors for [H, W] luminance in [0, 255]."""
    noise = float(np.exp(-noise_deviation(luminance) / NOISE_SCALE))
    blocks = float(np.exp(-block_step(luminance) / BLOCK_SCALE))
    edges = 1.0 if sharpness is None else min(1.0, sharpness / SHARP_ENOUGH)
    return noise * blocks * edges


def noise_deviation(luminance: Floats) -> float:
    """Return the standard deviation of the noise, in levels of 255."""
    response = cv2.filter2D(luminance, cv2.CV_32F, NOISE_MASK)
    return float(np.median(np.abs(response))) / NORMAL_QUARTILE / 6


def block_step(luminance: Floats) -> float:
    """Return how many levels the steps across the 8 × 8 grid exceed the others, in the worse direction; at least 0."""
    return max(0.0, _step_across(luminance), _step_across(luminance.T))


def _step_across(luminance: Floats) -> float:
    steps = np.abs(np.diff(luminance, axis=1)).mean(axis=0)
    whole = steps[: len(steps) // GRID * GRID].reshape(-1, GRID)
    if len(whole) == 0:
        return 0.0
    return float(np.median(whole[:, GRID - 1]) - np.median(whole[:, : GRID - 1]))
