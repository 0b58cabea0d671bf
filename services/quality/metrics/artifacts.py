"""Faults that can be measured in a drawn picture: noise, blocks, and edges that are blurred.

Each is a factor in [0, 1], and the score is their product:

- noise: Immerkær, "Fast Noise Variance Estimation", Computer Vision and Image Understanding 64(2), 1996; the median
  takes the place of the mean, so that edges do not count as noise. exp(-deviation / 15).
- blocks: steps across an 8 × 8 grid beyond the steps beside it (after Wang, Bovik and Evans, "Blind Measurement of
  Blocking Artifacts in Images", ICIP 2000); medians over the grid's lines, so that an object's edge that happens to
  lie on one does not count. exp(-step / 8).
- blur: the sharpness (`sharpness.py`), taken as faultless from 0.5 up.
"""

import math

import cv2
import numpy as np

from services.quality.metrics.luminance import Floats

NOISE_NAME, BLOCKS_NAME = "immerkaer-median/1", "grid-steps/1"
NOISE_SCALE = 15.0
BLOCK_SCALE = 8.0
SHARP_ENOUGH = 0.5
GRID = 8
NORMAL_QUARTILE = 0.6745  # median of |x| for a standard normal x
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)  # its norm is 6


def artifacts(noise: float, blockiness: float, sharpness: float | None) -> float:
    """Return the product of the factors; a picture without any edge has no blurred one."""
    edges = 1.0 if sharpness is None else min(1.0, sharpness / SHARP_ENOUGH)
    return noise * blockiness * edges


def noise(deviation: float) -> float:
    """Return the freedom from noise of so many levels."""
    return math.exp(-deviation / NOISE_SCALE)


def blockiness(luminance: Floats) -> float:
    """Return the freedom from blocks of [H, W] luminance in [0, 255]."""
    return math.exp(-block_step(luminance) / BLOCK_SCALE)


def noise_deviation(luminance: Floats) -> float:
    """Return the standard deviation of the noise, in levels of 255."""
    response = np.abs(cv2.filter2D(luminance, cv2.CV_32F, NOISE_MASK))
    # Of whole levels the responses are whole, too, and counting them takes a tenth of the time of sorting them.
    counts = np.cumsum(np.bincount(np.rint(response).astype(np.uint16).ravel()))
    return float(np.searchsorted(counts, response.size / 2)) / NORMAL_QUARTILE / 6


def block_step(luminance: Floats) -> float:
    """Return how many levels the steps across the 8 × 8 grid exceed the others, in the worse direction; at least 0."""
    return max(0.0, _step_across(luminance), _step_across(np.ascontiguousarray(luminance.T)))


def _step_across(luminance: Floats) -> float:
    if luminance.shape[1] <= GRID:
        return 0.0
    steps = cv2.reduce(cv2.absdiff(luminance[:, :-1], luminance[:, 1:]), 0, cv2.REDUCE_AVG)[0]
    whole = steps[: len(steps) // GRID * GRID].reshape(-1, GRID)
    return float(np.median(whole[:, GRID - 1]) - np.median(whole[:, : GRID - 1]))
