"""A preview as a small PNG file."""

import numpy as np

from router.backends.protocol import Pixels
from services.runtime.images import encode_png

MEDIA_TYPE = "image/png"
MOMENTS = 6  # at how many steps of a run previews are shown at most
MAX_BYTES = 64 * 1024


async def encode_preview(pixels: Pixels) -> bytes:
    """Return RGB uint8 [H, W, 3] as a PNG of at most 64 KiB, halving its sides until it fits."""
    while len(png := await encode_png(pixels)) > MAX_BYTES:
        pixels = _halved(pixels)
    return png


def _halved(pixels: Pixels) -> Pixels:
    """Return the mean of each 2 x 2 block; an odd last row or column is left out."""
    height, width = (side // 2 for side in pixels.shape[:2])
    blocks = pixels[: height * 2, : width * 2].reshape(height, 2, width, 2, 3)
    halved: Pixels = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return halved
