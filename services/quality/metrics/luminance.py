"""What every measurement of detail looks at: luminance, at one agreed size."""

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

LONGEST_SIDE = 1024
WINDOW, DEVIATION = 7, 7 / 6  # the Gaussian neighbourhood of BRISQUE's paper


def bring_to_size(picture: Pixels, longest_side: int = LONGEST_SIDE) -> Pixels:
    """Return [H, W, 3] no longer than `longest_side`, made smaller with an area filter; never made larger.

    Scores thereby speak of a picture as it is seen about 1024 pixels wide, and cost the same for every larger one.
    """
    height, width = picture.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def to_luminance(picture: Pixels) -> Floats:
    """Return the luminance (ITU-R BT.601) of [H, W, 3] RGB as [H, W] in [0, 255]."""
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)


def local_statistics(luminance: Floats) -> tuple[Floats, Floats]:
    """Return each pixel's local mean and standard deviation under a Gaussian window; the border is held."""
    squares = luminance * luminance
    mean, mean_square = (
        np.asarray(
            cv2.GaussianBlur(values, (WINDOW, WINDOW), DEVIATION, borderType=cv2.BORDER_REPLICATE), np.float32
        )
        for values in (luminance, squares)
    )
    # In place: fresh memory for a million pixels costs more than the arithmetic on them.
    mean_square -= mean * mean
    np.maximum(mean_square, 0, out=mean_square)
    return mean, np.sqrt(mean_square, out=mean_square)
