"""Technical quality: BRISQUE where a picture has the statistics of a photograph, measured faults where it has not.

BRISQUE judges by the grain that every camera leaves. On drawings with plain grounds, which is what the house model
makes, it takes the missing grain for a fault: clean icons score 60 to 85, and noise makes them *better*. So a picture
is judged by its share of plain pixels, seen 256 pixels wide, where faults hardly show: up to `PHOTOGRAPH` by BRISQUE
alone, from `DRAWING` by `artifacts.py` alone, between them by both in proportion. Most of scikit-image's photographs
have shares of 0 to 0.39 (a night sky 0.57), clean icons of 0.54 to 0.8.

What neither sees is multiplied with that: banding and exposure. NIQE is told beside it and is no part of it: to it clean
pictures of stone and brick are as far off as noisy ones of cats.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from services.quality.metrics.artifacts import artifacts
from services.quality.metrics.brisque import LEAST_SIDE, Regression, brisque
from services.quality.metrics.luminance import Floats, local_statistics

PHOTOGRAPH, DRAWING = 0.4, 0.52
SEEN_SIDE = 256
PLAIN = 1.0  # local deviation, in levels, under which nothing is to be seen
NOISE_SHARE = 1.5  # of the measured noise that may be added to that: enough for nine pixels of ten
WORST_BRISQUE = 100.0
NAMES = {0.0: "brisque+banding+exposure/2", 1.0: "artifacts+banding+exposure/2"}
NAME_OF_BOTH = "brisque+artifacts+banding+exposure/2"


@dataclass(frozen=True)
class Freedom:
    """Freedom from each fault in [0, 1]; sharpness is None where there is no edge."""

    noise: float
    blockiness: float
    banding: float
    exposure: float
    sharpness: float | None


def technical(
    luminance: Floats, drawn: float, freedom: Freedom, regression: Regression
) -> tuple[float, str] | None:
    """Return (score, name of what measured it) of [H, W] luminance; None under `LEAST_SIDE` pixels a side."""
    if min(luminance.shape) < LEAST_SIDE:
        return None
    score = 0.0
    if drawn < 1:
        score += (1 - drawn) * brisque_score(luminance, regression)
    if drawn > 0:
        score += drawn * artifacts(freedom.noise, freedom.blockiness, freedom.sharpness)
    return score * freedom.banding * freedom.exposure, NAMES.get(drawn, NAME_OF_BOTH)


def brisque_score(luminance: Floats, regression: Regression) -> float:
    """Return BRISQUE as 1 - score / 100, within [0, 1]."""
    return float(np.clip(1 - brisque(luminance, regression) / WORST_BRISQUE, 0, 1))


def drawn_share(luminance: Floats, noise: float) -> float:
    """Return how far [H, W] luminance with noise of so many levels is a drawing: 0 a photograph, 1 a drawing."""
    return float(np.clip((plain_share(luminance, noise) - PHOTOGRAPH) / (DRAWING - PHOTOGRAPH), 0, 1))


def plain_share(luminance: Floats, noise: float) -> float:
    """Return the share of pixels around which there is nothing but noise, seen `SEEN_SIDE` pixels wide."""
    reduction = max(1.0, max(luminance.shape) / SEEN_SIDE)
    height, width = (max(1, round(side / reduction)) for side in luminance.shape)
    seen = cv2.resize(luminance, (width, height), interpolation=cv2.INTER_AREA)
    _, deviation = local_statistics(np.asarray(seen, np.float32))
    return float((deviation < PLAIN + NOISE_SHARE * noise / reduction).mean())
