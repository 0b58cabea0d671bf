"""Resampling, and transparency around it."""

import tracemalloc

import numpy as np
import pytest

from services.enhance import pixels
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


def test_colours_bleed_across_bands_as_if_there_were_none(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (170, 90, 4), np.uint8)
    picture[..., 3] *= np.random.default_rng(1).random((170, 90)) > 0.999  # dots, far from one another
    before = picture.copy()
    whole, _ = split_alpha(picture)
    monkeypatch.setattr(pixels, "BAND", 7)
    banded, _ = split_alpha(picture)
    assert (whole != 255).any(2).mean() > 0.5
    np.testing.assert_allclose(banded.astype(int), whole, atol=1)  # sums are rounded elsewhere
    np.testing.assert_array_equal(picture, before)


def test_a_large_picture_is_split_in_little_more_than_its_own_memory() -> None:
    picture = np.zeros((4096, 1024, 4), np.uint8)
    picture[::2, ..., 3] = 255
    tracemalloc.start()
    split_alpha(picture)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * picture.nbytes
