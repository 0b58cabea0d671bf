"""Prompt adherence: the matcher's cosine between picture and prompt, and what it means as a probability."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """A logistic curve from cosine to the probability that the text belongs to the picture."""

    slope: float
    offset: float

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read the file that the matcher's training wrote. Raises OSError, and ValueError when it is not one."""
        content = json.loads(path.read_text(encoding="utf-8"))
        try:
            calibration = cls(float(content["slope"]), float(content["offset"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: needs the numbers slope and offset") from error
        if not (
            math.isfinite(calibration.slope) and math.isfinite(calibration.offset) and calibration.slope > 0
        ):
            raise ValueError(f"{path}: slope must be above 0 and both numbers finite")
        return calibration

    def score(self, cosine: float) -> float:
        """Return the probability in [0, 1]."""
        exponent = -(self.slope * cosine + self.offset)
        return 1 / (1 + math.exp(min(exponent, 700.0)))  # beyond 700 exp overflows and the answer is 0


def matcher_input(picture: Pixels, height: int, width: int) -> Pixels:
    """Return the middle of [H, W, 3] in the model's shape, resized to its size.

    The middle, for the enhancement room centres a picture on a canvas of another shape.
    """
    rows, columns = picture.shape[:2]
    scale = min(rows / height, columns / width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (rows - tall) // 2, (columns - wide) // 2
    middle = picture[top : top + tall, left : left + wide]
    method = cv2.INTER_AREA if scale >= 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(middle, (width, height), interpolation=method), np.uint8)


def cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of two vectors; 0 when one is zero."""
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms else 0.0
