"""NIQE: how far the statistics of a picture's parts are from those of pristine photographs, without human opinions.

Mittal, Soundararajan and Bovik, "Making a 'Completely Blind' Image Quality Analyzer", IEEE Signal Processing Letters
20(3), 2013. BRISQUE's features are taken of patches of 96 × 96 pixels, at two scales; the distance is Mahalanobis'
between the Gaussian that fits the picture's patches and the one that fits pristine photographs'. Photographs lie at 2.5
to 4. The pristine Gaussian is the one that the method's authors released (see `convert_niqe`).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.quality.metrics.brisque import SHAPES, normalised, shape_ratios
from services.quality.metrics.luminance import Floats

Doubles = npt.NDArray[np.float64]

NAME = "niqe/1"
WEIGHTS = Path(__file__).with_name("niqe.npz")
PATCH = 96
LEAST_SIDE = 2 * PATCH  # of fewer than four patches there is no spread to speak of
NATURAL, SCALE = 4.0, 6.0  # photographs have 2.5 to 4 and textures more; what is above that by 6 scores 1/e
_GAMMA = np.frompyfunc(math.gamma, 1, 1)


@dataclass(frozen=True)
class Pristine:
    """The Gaussian of 36 features of pristine photographs."""

    mean: Doubles
    covariance: Doubles

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> "Pristine":
        """Read the file that `python -m services.quality.convert_niqe` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["mean"], file["covariance"])


def naturalness(luminance: Floats, pristine: Pristine) -> float | None:
    """Return the distance as exp(-(distance - 4) / 6), at most 1; None under `LEAST_SIDE` pixels a side."""
    distance = niqe(luminance, pristine)
    return None if distance is None else math.exp(-max(0.0, distance - NATURAL) / SCALE)


def niqe(luminance: Floats, pristine: Pristine) -> float | None:
    """Return the distance of [H, W] luminance in [0, 255]: 0 best; None under `LEAST_SIDE` pixels a side, or of plain ground."""
    if min(luminance.shape) < LEAST_SIDE:
        return None
    found = features(luminance)
    found = found[np.isfinite(found).all(axis=1)]
    if len(found) < 2:
        return None
    apart = found.mean(axis=0) - pristine.mean
    spread = (pristine.covariance + np.cov(found.T)) / 2
    return math.sqrt(max(0.0, float(apart @ np.linalg.pinv(spread) @ apart)))


def features(luminance: Floats) -> Doubles:
    """Return 36 features of each whole patch, [patches, 36]: 18 at full size, 18 at half size."""
    height, width = (side // PATCH * PATCH for side in luminance.shape)
    whole = luminance[:height, :width]
    half = np.asarray(Image.fromarray(whole).resize((width // 2, height // 2), Image.Resampling.BICUBIC))
    scales = ((normalised(whole), PATCH), (normalised(half), PATCH // 2))
    return np.hstack([_patch_features(mscn, side) for mscn, side in scales])


def _patch_features(mscn: Floats, side: int) -> Doubles:
    down, along = (length // side for length in mscn.shape)
    patches = mscn.reshape(down, side, along, side).swapaxes(1, 2).reshape(-1, side, side)
    shape, _, left, right = _fit(patches)
    columns = [shape, (left + right) / 2]
    # Each pixel beside its neighbour to the left, above, and on the two diagonals; a patch's edges meet.
    for turned in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, mean, left, right = _fit(patches * np.roll(patches, turned, axis=(1, 2)))
        columns += [shape, mean, left, right]
    return np.stack(columns, axis=1)


def _fit(patches: Floats) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Fit an asymmetric generalised Gaussian to each patch: (shape, mean, left scale, right scale).

    One whose values are all of one sign, as on plain ground, has no fit and gives no number.
    """
    flat = patches.reshape(len(patches), -1)
    negative = np.minimum(flat, 0)
    below, above = (np.count_nonzero(side, axis=1) for side in (flat < 0, flat > 0))
    left_sum, total = (
        np.einsum("ij,ij->i", values, values).astype(np.float64) for values in (negative, flat)
    )
    absolute = (flat.sum(axis=1) - 2 * negative.sum(axis=1)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        left, right = np.sqrt(left_sum / below), np.sqrt((total - left_sum) / above)
        ratio = left / right
        mean_square = (absolute / flat.shape[1]) ** 2 / (total / flat.shape[1])
        target = mean_square * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = SHAPES[np.clip(np.searchsorted(shape_ratios(), target), 0, len(SHAPES) - 1)]
    one, two, three = (_GAMMA(number / shape).astype(np.float64) for number in (1, 2, 3))
    scale = np.sqrt(one / three)
    return shape, (right - left) * scale * two / one, left * scale, right * scale
