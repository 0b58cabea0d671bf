"""Pictures to measure: scikit-image's photographs, drawn icons, and what spoils them."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from skimage import data

Pixels = npt.NDArray[np.uint8]
IMAGES = Path(__file__).parents[3] / "docs" / "images"


def photograph(name: str) -> Pixels:
    """A photograph as [H, W, 3]."""
    picture = getattr(data, name)()
    return np.asarray(np.dstack([picture] * 3) if picture.ndim == 2 else picture, np.uint8)


def icon(size: int = 512, centre: tuple[float, float] = (0.5, 0.5), radius: float = 0.3) -> Pixels:
    """A shaded ball on a near-white ground, drawn large and made smaller, so that its edge is clean."""
    large = max(2 * size, 256)
    y, x = np.mgrid[:large, :large].astype(np.float32) / large
    distance = np.hypot(x - centre[0], y - centre[1])
    shade = (1 - 0.4 * distance / radius)[..., None]
    ball = np.array([250, 170, 60], np.float32) * shade
    eyes = (np.hypot(x - centre[0] + radius / 3, y - centre[1] + radius / 4) < radius / 8)[..., None]
    drawn = np.where((distance < radius)[..., None], np.where(eyes, 40, ball), 252)
    return np.asarray(
        cv2.resize(drawn.astype(np.uint8), (size, size), interpolation=cv2.INTER_AREA), np.uint8
    )


def noisy(picture: Pixels, deviation: float) -> Pixels:
    """Gaussian noise, the same in every run."""
    noise = np.random.default_rng(0).normal(0, deviation, picture.shape)
    return np.asarray(np.clip(np.rint(picture + noise), 0, 255), np.uint8)


def blurred(picture: Pixels, deviation: float) -> Pixels:
    """Gaussian blur of so many pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation), np.uint8) if deviation else picture


def as_jpeg(picture: Pixels, quality: int) -> Pixels:
    """What is left after JPEG."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def tinted(picture: Pixels, strength: float) -> Pixels:
    """A warm cast: blue and green taken away in proportion to `strength` (0 to 1)."""
    return np.asarray(np.clip(picture * np.array([1, 1 - strength / 2, 1 - strength]), 0, 255), np.uint8)


def banded(picture: Pixels, step: int) -> Pixels:
    """What is left when only every `step`-th level can be told."""
    return np.asarray(np.minimum(picture // step * step + step // 2, 255), np.uint8)


def exposed(picture: Pixels, gain: float) -> Pixels:
    """All values times `gain`, cut off at white."""
    return np.asarray(np.clip(np.rint(picture * float(gain)), 0, 255), np.uint8)


def shipped(name: str) -> Pixels:
    """A picture that the house model drew, from the documentation."""
    return np.asarray(cv2.imread(str(IMAGES / f"{name}.png"))[..., ::-1], np.uint8)
