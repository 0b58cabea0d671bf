"""Large pictures made smaller before they are sent to networks that would do so themselves."""

import cv2
import numpy as np

from services.safety.pictures.checker import Pixels

LONGEST = 1024  # no network here looks at more


def reduced(picture: Pixels) -> Pixels:
    """Return a picture [H,W,3] whose sides are at most LONGEST, averaged where it was larger, else the picture itself."""
    height, width = picture.shape[:2]
    factor = LONGEST / max(height, width)
    if factor >= 1:
        return picture
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
