"""BRISQUE: how far a picture's local statistics are from those of undistorted photographs.

Mittal, Moorthy and Bovik, "No-Reference Image Quality Assessment in the Spatial Domain", IEEE Transactions on Image
Processing 21(12), 2012. Luminance is normalised by its local mean and deviation (MSCN, equation 1); the histogram of
those coefficients and of the products of neighbours is fitted with an asymmetric generalised Gaussian (AGGD, moments
after Lasmar et al. 2009), at two scales: 36 features. A support vector regression learnt from the LIVE database's
human opinions turns them into a score: 0 is best, about 100 worst.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.quality.metrics.luminance import WINDOW, Floats, local_statistics

Doubles = npt.NDArray[np.float64]

WEIGHTS = Path(__file__).with_name("brisque.npz")
SATURATION = 1.0  # C of equation 1, on luminance in [0, 255]
SCALES = 2
SHAPES = np.arange(0.2, 10.001, 0.001)
LEAST_SIDE = 2 * WINDOW


@dataclass(frozen=True)
class Regression:
    """A support vector regression with a Gaussian kernel, over features scaled to [-1, 1]."""

    minimum: Doubles
    maximum: Doubles
    vectors: Doubles
    coefficients: Doubles
    gamma: float
    offset: float

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> "Regression":
        """Read the file that `python -m services.quality.convert_brisque` wrote."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.float64) for name in file.files}
        return cls(
            arrays["minimum"], arrays["maximum"], arrays["vectors"], arrays["coefficients"],
            float(arrays["gamma"]), float(arrays["offset"]),
        )  # fmt: skip

    def predict(self, features: Doubles) -> float:
        """Return the score of 36 features."""
        scaled = 2 * (features - self.minimum) / (self.maximum - self.minimum) - 1
        distances = np.square(self.vectors - scaled).sum(axis=1)
        return float(self.coefficients @ np.exp(-self.gamma * distances) - self.offset)


def brisque(luminance: Floats, regression: Regression) -> float:
    """Score [H, W] luminance in [0, 255]: 0 best, about 100 worst; a little outside for extremes.

    Raises ValueError when a side is under `LEAST_SIDE` pixels: no statistics are to be had from so few.
    """
    if min(luminance.shape) < LEAST_SIDE:
        raise ValueError(f"BRISQUE needs {LEAST_SIDE} pixels on each side")
    return regression.predict(features(luminance))


def features(luminance: Floats) -> Doubles:
    """Return the 36 features: 18 at full size, 18 at half size."""
    values: list[float] = []
    for _ in range(SCALES):
        values += _scale_features(normalised(luminance))
        height, width = luminance.shape
        half = Image.fromarray(luminance).resize(
            ((width + 1) // 2, (height + 1) // 2), Image.Resampling.BICUBIC
        )
        luminance = np.asarray(half, np.float32)
    return np.array(values)


def normalised(luminance: Floats) -> Floats:
    """Return the MSCN coefficients: (x - local mean) / (local deviation + C)."""
    mean, deviation = local_statistics(luminance)
    deviation += SATURATION
    normal = luminance - mean
    normal /= deviation
    return np.asarray(normal, np.float32)


def _scale_features(mscn: Floats) -> list[float]:
    shape, _, left, right = fit_aggd(mscn)
    values = [shape, (left + right) / 2]
    neighbours = (
        (mscn[:, :-1], mscn[:, 1:]),
        (mscn[:-1], mscn[1:]),
        (mscn[:-1, :-1], mscn[1:, 1:]),
        (mscn[1:, :-1], mscn[:-1, 1:]),
    )
    for one, other in neighbours:
        values += fit_aggd(one * other)
    return values


def fit_aggd(values: Floats) -> tuple[float, float, float, float]:
    """Fit an asymmetric generalised Gaussian: (shape, mean, left variance, right variance)."""
    flat = values.ravel()
    negative = np.minimum(flat, 0)  # sums of parts instead of masks: a third of the time
    below, above = int(np.count_nonzero(flat < 0)), int(np.count_nonzero(flat > 0))
    left_sum, total = float(negative @ negative), float(flat @ flat)
    absolute = float(flat.sum()) - 2 * float(negative.sum())
    left = left_sum / below if below else 0.0
    right = (total - left_sum) / above if above else 0.0
    if left <= 0 or right <= 0:
        return float(SHAPES[-1]), 0.0, left, right  # flat, or of one sign: the narrowest tails the table has
    ratio = math.sqrt(left / right)
    mean_square = (absolute / flat.size) ** 2 / (total / flat.size)
    target = mean_square * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = float(SHAPES[np.abs(shape_ratios() - target).argmin()])
    constant = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
    mean = (math.sqrt(right) - math.sqrt(left)) * constant * math.gamma(2 / shape) / math.gamma(1 / shape)
    return shape, mean, left, right


@cache
def shape_ratios() -> Doubles:
    """Return what each of `SHAPES` makes of the ratio that the fit matches; it grows with them."""
    ratios = [math.gamma(2 / a) ** 2 / (math.gamma(1 / a) * math.gamma(3 / a)) for a in SHAPES.tolist()]
    return np.array(ratios, np.float64)
