"""The passes that need no model, and what transparency needs around those that do."""

import cv2
import numpy as np
import numpy.typing as npt

from services.enhance.plan import Size

Pixels = npt.NDArray[np.uint8]

BLEED_PASSES = 4  # each doubles the reach: 2 + 4 + 8 + 16 pixels beyond what can be seen
REACH = 2 ** (BLEED_PASSES + 1) - 2
BAND = 512  # rows


def resize(picture: Pixels, size: Size) -> Pixels:
    """Resample [H, W, C]: area filter where it gets smaller, Lanczos (4 lobes) where it gets larger.

    Colour and alpha are resampled separately, the colour after `split_alpha`.
    """
    shrinks = size.width <= picture.shape[1] and size.height <= picture.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    shape = (size.width, size.height)
    if picture.shape[2] != 4:
        return np.asarray(cv2.resize(picture, shape, interpolation=method), np.uint8)
    colour, alpha = split_alpha(picture)
    resized = np.asarray(cv2.resize(colour, shape, interpolation=method), np.uint8)
    return np.dstack([resized, np.asarray(cv2.resize(alpha, shape, interpolation=method), np.uint8)])


def split_alpha(picture: Pixels) -> tuple[Pixels, Pixels]:
    """Split [H, W, 4] into colour [H, W, 3] and alpha [H, W].

    Where nothing can be seen the colour is made that of the nearest visible pixels: whatever lies hidden there, black
    more often than not, would be mixed into the edges by anything that enlarges.
    """
    alpha = np.ascontiguousarray(picture[..., 3])
    colour = picture[..., :3].copy()
    if not alpha.all():
        # A band at a time, for a picture of 67 megapixels takes 3 GB in floats; with what reaches into it from beyond.
        for top in range(0, len(picture), BAND):
            above = max(0, top - REACH)
            band = _bleed(picture[above : top + BAND + REACH])
            colour[top : top + BAND] = band[top - above :][:BAND]
    return colour, alpha


def _bleed(picture: Pixels) -> Pixels:
    colour = picture[..., :3].astype(np.float32)
    known = (picture[..., 3] > 0).astype(np.float32)
    colour *= known[..., None]
    for step in range(BLEED_PASSES):
        reach = 2 ** (step + 2) + 1
        weight = cv2.blur(known, (reach, reach))
        spread = cv2.blur(colour, (reach, reach)) / np.maximum(weight, 1e-6)[..., None]
        fill = (known == 0) & (weight > 0)
        colour[fill] = spread[fill]
        known[fill] = 1
    colour[known == 0] = 255  # too far from anything visible to matter; white compresses well
    return np.clip(np.rint(colour), 0, 255).astype(np.uint8)
