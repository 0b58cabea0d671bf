"""Composition of a photograph: where the eye is drawn, against the thirds, the balance and the frame.

Hou and Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007: what the log spectrum of a picture has beyond
its own local mean is what is unlike the rest; with the phase kept, back in the picture, that is where the eye goes. The
map is made of the luminance 64 pixels wide. Of it are taken

- the places: how much lies close to the middle or to a crossing of thirds;
- the balance: how far left and right its centre is from the middle;
- the frame: how much lies in the outermost ring beyond what half an even spread would put there. It is cut off.

scikit-image's cat, coffee and cameraman score 0.83 to 0.94, and half of that or less once a third is cut away at the side
on which they stand (a test); walls and lawns, which draw the eye nowhere, 0.25 to 0.45, a rocket among bright lamps 0.23.
"""

import cv2
import numpy as np
import numpy.typing as npt

from services.quality.metrics.composition import PLACES, TOLERANCE, middles, ring
from services.quality.metrics.luminance import Floats, Pixels

NAME = "spectral-residual/1"
LONGEST_SIDE, LEAST_SIDE = 64, 8
DEVIATION = 2.5  # pixels of the map over which attention spreads, about the paper's
NOWHERE, WELL = 0.3, 0.65  # shares near the places that score 0 and 1; an even spread has 0.43
FRAME = 0.05  # share of the shorter side


def attention(picture: Pixels) -> float | None:
    """Return (places + balance) / 2 × (1 - cut / 2) of [H, W, 3] RGB, in [0, 1]; None where nothing draws the eye."""
    found = saliency(picture)
    mass = np.maximum(found - found.mean(), 0)
    total = float(mass.sum())
    if total <= 0:
        return None
    height, width = mass.shape
    near = float((mass * _nearness(height, width)).sum()) / total
    placed = float(np.clip((near - NOWHERE) / (WELL - NOWHERE), 0, 1))
    balance = 1 - 2 * abs(float(mass.sum(axis=0) @ middles(width)) / total - 0.5)
    border = ring(height, width, FRAME)
    share = float(mass[border].sum()) / total / float(border.mean())  # 1: as much as an even spread
    cut = float(np.clip(share - 0.5, 0, 1))
    return (placed + balance) / 2 * (1 - cut / 2)


def saliency(picture: Pixels) -> Floats:
    """Return the map [h, w] of [H, W, 3] RGB, at least 0, its longer side 64; 0 of a plain picture."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    scale = LONGEST_SIDE / max(grey.shape)
    height, width = (max(LEAST_SIDE, round(side * scale)) for side in grey.shape)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    if small.max() - small.min() < 1:  # less than a level: rounding would be all there is
        return np.zeros((height, width), np.float32)
    spectrum = np.fft.fft2(small)
    logarithm = np.log(np.abs(spectrum) + 1e-6)
    residual = logarithm - cv2.blur(logarithm, (3, 3))
    unlike = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    return np.asarray(cv2.GaussianBlur(unlike.astype(np.float32), (0, 0), DEVIATION), np.float32)


def _nearness(height: int, width: int) -> npt.NDArray[np.float64]:
    """Return for each pixel how near it lies to the nearest place: 1 on it, 1/sqrt(e) at `TOLERANCE` sides."""
    across, down = np.meshgrid(middles(width), middles(height))
    squares = [(across - x) ** 2 + (down - y) ** 2 for x, y in PLACES]
    return np.asarray(np.exp(-np.min(squares, axis=0) / 2 / TOLERANCE**2))
