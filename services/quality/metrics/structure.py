"""Structural similarity: how well the patterns of one picture's luminance are kept in another's.

SSIM: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity",
IEEE Transactions on Image Processing 13(4), 2004: local means, deviations and covariance under a Gaussian window of
11 × 11 pixels, deviation 1.5, where that window lies wholly inside the picture. MS-SSIM: Wang, Simoncelli and Bovik,
"Multi-Scale Structural Similarity for Image Quality Assessment", Asilomar 2003: contrast and structure at five scales,
brightness at the coarsest, multiplied with exponents that people's judgements gave.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from services.quality.metrics.luminance import Floats

WINDOW, DEVIATION = 11, 1.5
MARGIN = WINDOW // 2
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the finest scale to the coarsest
LEAST_SIDE = WINDOW
LEAST_SIDE_OF_SCALES = WINDOW * 2 ** (len(EXPONENTS) - 1)
STRIP = 128  # rows measured at one time: what is held does not grow with the picture, and stays in the cache

Plane = npt.NDArray[np.uint8] | Floats


def similarities(reference: Plane, candidate: Plane) -> tuple[float, float | None]:
    """Return SSIM in [-1, 1] and MS-SSIM in [0, 1] of two [H, W] luminances in [0, 255], each 1 for equal ones.

    Both sides are at least `LEAST_SIDE` pixels; MS-SSIM is None under `LEAST_SIDE_OF_SCALES`.
    """
    ssim, kept = _similarity(reference, candidate)
    if min(reference.shape) < LEAST_SIDE_OF_SCALES:
        return ssim, None
    product, whole = 1.0, ssim
    for exponent in EXPONENTS[:-1]:
        # Structures that are turned over are as bad as lost: a negative base has no such power.
        product *= max(0.0, kept) ** exponent
        reference, candidate = _halved(reference), _halved(candidate)
        whole, kept = _similarity(reference, candidate)
    return ssim, product * max(0.0, whole) ** EXPONENTS[-1]


def _similarity(reference: Plane, candidate: Plane) -> tuple[float, float]:
    """Return the means of the whole similarity and of its contrast and structure alone."""
    whole = kept = 0.0
    pixels = 0
    for rows in _strips(reference.shape[0]):
        similarity, contrast = _maps(reference[rows].astype(np.float32), candidate[rows].astype(np.float32))
        whole += float(similarity.sum(dtype=np.float64))
        kept += float(contrast.sum(dtype=np.float64))
        pixels += similarity.size
    return whole / pixels, kept / pixels


def _strips(height: int) -> Iterator[slice]:
    """Yield rows whose windows' middles, put together, are every row at least `MARGIN` from the border, once."""
    for start in range(0, height - 2 * MARGIN, STRIP):
        yield slice(start, min(height, start + STRIP + 2 * MARGIN))


def _maps(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    mean, other_mean = _averaged(one), _averaged(other)
    means, squares = mean * other_mean, mean * mean + other_mean * other_mean
    variances = _averaged(one * one + other * other) - squares
    covariance = _averaged(one * other) - means
    contrast = (2 * covariance + C2) / (variances + C2)
    brightness = (2 * means + C1) / (squares + C1)
    return np.asarray(brightness * contrast, np.float32), np.asarray(contrast, np.float32)


def _averaged(values: Floats) -> Floats:
    inside = slice(MARGIN, -MARGIN)
    return np.asarray(cv2.GaussianBlur(values, (WINDOW, WINDOW), DEVIATION), np.float32)[inside, inside]


def _halved(values: Plane) -> Floats:
    height, width = (side // 2 for side in values.shape)
    whole = values[: 2 * height, : 2 * width].astype(np.float32)
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)
