"""Resampling, and transparency around it."""

import numpy as np
import pytest

from services.enhance.pixels import resize, split_alpha
from services.enhance.plan import Size


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [Size(7, 5), Size(40, 60), Size(40, 5)])
def test_shape(channels: int, size: Size) -> None:
    picture = np.full((20, 30, channels), 200, np.uint8)
    result = resize(picture, size)
    assert result.shape[:2] == (size.height, size.width)
    assert (result == 200).all()


def test_making_smaller_averages() -> None:
    checks = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((2, 2)))[..., None].repeat(3, 2) * 200
    assert (resize(checks.astype(np.uint8), Size(4, 4)) == 100).all()


def test_hidden_colours_do_not_reach_the_edges() -> None:
    picture = np.zeros((32, 32, 4), np.uint8)  # transparent black around an opaque red square
    picture[8:24, 8:24] = (255, 0, 0, 255)
    larger = resize(picture, Size(128, 128))
    visible = larger[larger[..., 3] > 0]
    assert visible[:, 0].min() > 250


def test_visible_pixels_keep_their_colour_and_alpha() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    picture[4:8, 4:8, 3] = 0
    colour, alpha = split_alpha(picture)
    assert (alpha == picture[..., 3]).all()
    shown = alpha > 0
    assert (colour[shown] == picture[shown][:, :3]).all()


def test_an_empty_picture_is_no_error() -> None:
    colour, alpha = split_alpha(np.zeros((200, 200, 4), np.uint8))
    assert alpha.max() == 0
    assert (colour == 255).all()
