"""A picture goes on beyond its border, and the seam cannot be seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enhance.canvas import Pixels, extend


def icon(size: int = 128, ground: int = 250, touching: bool = False) -> Pixels:
    """A dark disc on a near-white ground with a soft shade and a little noise, as the house model draws them."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    shade = ground - 3 * y - 2 * x + np.random.default_rng(0).normal(0, 0.4, (size, size))
    disc = (x - (0.3 if touching else 0)) ** 2 + y**2 < 0.09
    return np.where(disc[..., None], [200, 60, 40], shade[..., None]).round().astype(np.uint8)


def test_the_picture_is_centred_and_untouched() -> None:
    picture = icon()
    wide = extend(picture, 301, 128)
    assert wide.shape == (128, 301, 3)
    assert (wide[:, 86 : 86 + 128] == picture).all()
    tall = extend(picture, 128, 200)
    assert (tall[36 : 36 + 128] == picture).all()
    both = extend(picture, 130, 134)
    assert (both[3:131, 1:129] == picture).all()


@pytest.mark.parametrize("touching", [False, True])
def test_no_step_at_the_seam(touching: bool) -> None:
    picture = icon(touching=touching)
    left = (256 - 128) // 2
    wide = extend(picture, 256, 128).astype(int)
    seams = [np.abs(wide[:, column] - wide[:, column - 1]) for column in (left, left + 128)]
    # Neighbouring columns differ by no more than the picture's own outer columns, give or take the shade's rounding;
    # next to a touching disc, by what its edge moves in one pixel.
    ground = [step[:20] for step in seams]
    assert max(step.max() for step in ground) <= 3
    assert max(step.mean() for step in seams) <= (6 if touching else 1)


def test_far_from_the_picture_the_ground_is_plain() -> None:
    wide = extend(icon(touching=True), 600, 128).astype(float)
    assert wide[:, :40].std(axis=(0, 1)).max() < 2
    assert wide[:, -40:].std(axis=(0, 1)).max() < 2
    assert abs(wide[:, -40:].mean() - 250) < 4


def test_a_plain_picture_stays_plain() -> None:
    plain = np.full((50, 40, 3), (12, 240, 99), np.uint8)
    assert (extend(plain, 333, 50) == plain[0, 0]).all()


def test_alpha_goes_on_as_well() -> None:
    picture = np.zeros((30, 30, 4), np.uint8)
    picture[10:20, 10:20] = 255
    wide = extend(picture, 90, 30)
    assert wide.shape == (30, 90, 4)
    assert wide[:, :30, 3].max() == 0


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 40), st.integers(0, 40))
def test_any_size_works(width: int, height: int, across: int, down: int) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    result = extend(picture, width + across, height + down)
    assert result.shape == (height + down, width + across, 3)
    assert (result[down // 2 : down // 2 + height, across // 2 : across // 2 + width] == picture).all()


def test_a_canvas_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold 128"):
        extend(icon(), 127, 300)
