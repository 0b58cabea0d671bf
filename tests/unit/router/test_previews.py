"""A preview is a PNG within its limit, whatever it is made from."""

import numpy as np
import pytest

from router.previews import MAX_BYTES, encode_preview
from services.runtime.images import decode


@pytest.mark.parametrize("shape", [(64, 64, 3), (1024, 768, 3), (513, 1031, 3)])
async def test_noise_fits(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    png = await encode_preview(pixels)
    assert len(png) <= MAX_BYTES
    height, width, _ = (await decode(png)).shape
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.05)


async def test_what_fits_is_left_as_it_is():
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(await decode(await encode_preview(pixels)), pixels)
