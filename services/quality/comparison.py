"""How far a picture is from another one of its size, by the eye's measures and the engineer's."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from services.quality.metrics.gradients import gmsd
from services.quality.metrics.luminance import Pixels, to_luminance
from services.quality.metrics.structure import LEAST_SIDE, STRIP, similarities

MAX_PIXELS = 4096 * 4096  # both pictures and what is measured of them: 0.5 GB

Size = tuple[int, int]


@dataclass(frozen=True)
class Difference:
    """What was measured; the names are those of CompareImagesResponse."""

    psnr_db: float
    ssim: float
    ms_ssim: float | None
    gmsd: float
    color_difference: float


def refuse(reference: Size, candidate: Size) -> str | None:
    """Return the rule that keeps pictures of these sizes (width, height) from being compared, or None."""
    if reference != candidate:
        return f"is {_told(candidate)}, and the reference {_told(reference)}; resize one of them"
    if min(reference) < LEAST_SIDE:
        return f"is {_told(candidate)}; {LEAST_SIDE} pixels on each side are needed"
    if math.prod(reference) > MAX_PIXELS:
        return f"is {_told(candidate)}; up to {MAX_PIXELS:,} in all are compared; compare parts"
    return None


def compare(reference: Pixels, candidate: Pixels) -> Difference:
    """Measure two [H, W, 3] RGB pictures of one size that `refuse` lets pass."""
    one, other = to_luminance(reference), to_luminance(candidate)
    ssim, ms_ssim = similarities(one, other)
    return Difference(
        psnr_db=psnr(reference, candidate),
        ssim=ssim,
        ms_ssim=ms_ssim,
        gmsd=gmsd(one, other),
        color_difference=color_difference(reference, candidate),
    )


def psnr(reference: Pixels, candidate: Pixels) -> float:
    """Return 10 log10(255² / mean squared error) over all three colours in decibels; infinite for equal pictures."""
    squares = cv2.norm(reference, candidate, cv2.NORM_L2SQR)
    return 10 * math.log10(255**2 * reference.size / squares) if squares else math.inf


def color_difference(reference: Pixels, candidate: Pixels) -> float:
    """Return the mean distance of pixels in CIELAB (CIE 1976, ΔE*ab); 2.3 is about what an eye just notices.

    What is measured of luminance alone takes a picture without its colours for an equal one; this does not.
    """
    total = 0.0
    for start in range(0, len(reference), STRIP):
        rows = slice(start, start + STRIP)
        apart = _lab(reference[rows]) - _lab(candidate[rows])
        total += float(np.sqrt(np.einsum("ijk,ijk->ij", apart, apart)).sum())
    return total / (reference.shape[0] * reference.shape[1])


def _lab(picture: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _told(size: Size) -> str:
    return f"{size[0]} × {size[1]} pixels"
