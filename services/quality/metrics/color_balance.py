"""Colour balance: freedom from a colour cast.

Gasparini and Schettini, "Color balancing of digital photos using simple image statistics", Pattern Recognition 37(6),
2004: in the a*b* plane of CIELAB a picture without a cast spreads around neutral or in several directions, one with a
cast lies as a compact cloud away from it. With m the distance of the cloud's centre from neutral and s its spread, a
cast shows as D = m - s > 0; one dominant colour on a neutral ground spreads as far as it lies off and is no cast.
"""

import cv2
import numpy as np

from services.quality.metrics.luminance import Pixels, bring_to_size

NAME = "cast-cielab/1"
LONGEST_SIDE = 256  # statistics of the whole picture: more pixels change nothing
SCALE = 25.0  # a cast of 25 units of CIELAB, plain to see, scores 1/e


def color_balance(picture: Pixels) -> float:
    """Return exp(-D / 25) of [H, W, 3] RGB: 1 without a cast."""
    small = bring_to_size(picture, LONGEST_SIDE).astype(np.float32) / 255
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3)[:, 1:]
    centre = float(np.linalg.norm(lab.mean(axis=0)))
    spread = float(np.linalg.norm(lab.std(axis=0)))
    return float(np.exp(-max(0.0, centre - spread) / SCALE))
