"""Exposure: whether a picture's lights are there, and in a photograph not burnt.

*Too dark*: the brightest hundredth of the pixels should reach level 140, which a night picture with a lamp in it does and
an underexposed one does not. *Burnt*: a photograph's pixels at the upper end, beyond two of a hundred; *lost*: those at
the lower end, beyond a quarter of the picture. A drawing on a white ground is not overexposed: those two count as far as
the picture is a photograph. One of which most is burnt away cannot be told from a drawing, and is taken for one.
"""

import math

import numpy as np

from services.quality.metrics.luminance import Floats

NAME = "lights/1"
BRIGHTEST_SHARE, LIGHTS = 0.01, 140.0
WHITE, BLACK = 253, 2
BURNT_SHARE, LOST_SHARE = 0.02, 0.25
SCALE = 0.4


def exposure(luminance: Floats, drawn: float) -> float:
    """Return exp(-(too dark + burnt + lost) / 0.4) of [H, W] luminance in [0, 255], each of the three in [0, 1].

    `drawn` is 0 for a photograph and 1 for a drawing.
    """
    # Shares of pixels up to and with each level.
    shares = np.cumsum(np.bincount(luminance.astype(np.uint8).ravel(), minlength=256)) / luminance.size
    brightest = int(np.searchsorted(shares, 1 - BRIGHTEST_SHARE))
    too_dark = max(0.0, 1 - brightest / LIGHTS)
    burnt = max(0.0, 1 - float(shares[WHITE - 1]) - BURNT_SHARE)
    lost = max(0.0, float(shares[BLACK]) - LOST_SHARE)
    return math.exp(-(too_dark + (1 - drawn) * (burnt + lost)) / SCALE)
