"""GMSD, the perceptual distance: how unevenly the edges of one picture are kept in another.

Xue, Zhang, Mou and Bovik, "Gradient Magnitude Similarity Deviation: A Highly Efficient Perceptual Image Quality Index",
IEEE Transactions on Image Processing 23(2), 2014. Both luminances are averaged over 2 × 2 pixels and halved, and the
magnitudes of their Prewitt gradients compared at each pixel; the deviation of that similarity over the picture is the
distance. It needs no weights, and agrees with people about as well as what has some.
"""

import cv2
import numpy as np

from services.quality.metrics.luminance import Floats

CONSTANT = 170.0  # the paper's, for luminance in [0, 255]
PREWITT = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]], np.float32) / 3


def gmsd(reference: Floats, candidate: Floats) -> float:
    """Return the distance of two [H, W] luminances in [0, 255]: 0 for equal ones, above 0.15 plainly spoilt."""
    one, other = _magnitudes(reference), _magnitudes(candidate)
    similarity = (2 * one * other + CONSTANT) / (one * one + other * other + CONSTANT)
    return float(similarity.std(dtype=np.float64))


def _magnitudes(luminance: Floats) -> Floats:
    halved = cv2.blur(luminance, (2, 2))[::2, ::2]
    along, down = (cv2.filter2D(halved, cv2.CV_32F, kernel) for kernel in (PREWITT, PREWITT.T))
    return np.asarray(cv2.magnitude(along, down), np.float32)
