"""Real pictures, and the ways to spoil them step by step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from skimage import data

Pixels = npt.NDArray[np.uint8]

DRAWING = Path("docs/images/demo.png")
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "rocket", "gravel")


@dataclass(frozen=True)
class Spoiler:
    """A fault that grows along `steps`, the first of which is none."""

    unit: str
    steps: tuple[float, ...]
    apply: Callable[[Pixels, float], Pixels]


def photographs() -> Mapping[str, Pixels]:
    """Return scikit-image's photographs as [H, W, 3] RGB by name."""
    pictures = {name: np.asarray(getattr(data, name)(), np.uint8) for name in PHOTOGRAPHS}
    return {name: np.dstack([p] * 3) if p.ndim == 2 else p for name, p in pictures.items()}


def drawing() -> Pixels:
    """Return a picture that the house model drew."""
    return np.ascontiguousarray(cv2.imread(str(DRAWING))[..., ::-1])


def _blur(picture: Pixels, deviation: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation), np.uint8) if deviation else picture


def _noise(picture: Pixels, deviation: float) -> Pixels:
    noise = np.random.default_rng(0).normal(0, deviation, picture.shape)
    return np.asarray(np.clip(np.rint(picture + noise), 0, 255), np.uint8)


def _jpeg(picture: Pixels, quality: float) -> Pixels:
    if quality >= 100:
        return picture
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def _band(picture: Pixels, levels: float) -> Pixels:
    step = int(256 // levels)
    return np.asarray(np.minimum(picture // step * step + step // 2, 255), np.uint8)


def _expose(picture: Pixels, stops: float) -> Pixels:
    return np.asarray(np.clip(np.rint(picture * 2.0**stops), 0, 255), np.uint8)


SPOILERS: Mapping[str, Spoiler] = {
    "blur": Spoiler("deviation, pixels", (0, 0.7, 1.4, 2.8, 5.6), _blur),
    "noise": Spoiler("deviation, levels", (0, 4, 8, 16, 32), _noise),
    "JPEG": Spoiler("quality", (100, 75, 40, 15, 5), _jpeg),
    "banding": Spoiler("levels left", (256, 64, 32, 16, 8), _band),
    "dark": Spoiler("stops", (0, -1, -2, -3, -4), _expose),
    "bright": Spoiler("stops", (0, 0.5, 1, 2, 3), _expose),
}
