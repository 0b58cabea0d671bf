"""Tiling as pure functions: the weights of a cut, seams, any size, any order, multiples."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from services.models.serving import tiles
from services.models.serving.tiles import Mosaic, Tiling

TILING = Tiling(size=40, margin=4, discard=4, blend=6)
EVEN = Tiling(size=48, margin=4, discard=4, blend=6, multiple=16)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("length", [1, 8, 31, 32, 33, 50, 77, 500])
def test_the_weights_of_a_cut_add_up_to_one_and_overlap_enough(length: int, multiple: int) -> None:
    tiling = Tiling(size=32, margin=0, discard=3, blend=4, multiple=multiple)
    length += sum(tiling.padding(length))
    cut, tile = tiles.cut(length, tiling, 4)
    assert tile <= 32
    assert tile % multiple == 0
    total = np.zeros(4 * length)
    for start, weights in cut:
        total[4 * start : 4 * (start + tile)] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert cut[0][0] == 0
    assert cut[-1][0] + tile == length
    for (start, weights), (following, _) in pairwise(cut):
        assert start + tile - following >= tiling.overlap
        assert not weights[4 * (tile - tiling.discard) :].any()


@pytest.mark.parametrize("tiling", [TILING, EVEN])
@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (1, 40), (41, 48), (150, 211), (333, 1000)])
def test_tiles_that_agree_leave_no_seam(height: int, width: int, scale: int, tiling: Tiling) -> None:
    """With a network that treats every pixel alone, tiling must be invisible to the last bit."""
    image, mosaic = noise(height, width), Mosaic(height, width, tiling, scale)
    for tile in tiles.tiles(image, tiling, scale):
        assert tile.pixels.shape[2:] == mosaic.tile_shape
        mosaic.add(tile, tile.pixels.repeat(scale, 2).repeat(scale, 3))
    np.testing.assert_array_equal(mosaic.picture(), image.repeat(scale, 0).repeat(scale, 1))


def test_tiles_of_one_picture_have_one_shape_of_the_multiple() -> None:
    for size in ((1, 1), (41, 48), (150, 211)):
        shapes = {tile.pixels.shape for tile in tiles.tiles(noise(*size), EVEN, 1)}
        assert len(shapes) == 1
        assert all(side % 16 == 0 and side <= 48 for side in shapes.pop()[2:])


@pytest.mark.parametrize("size", [78, 333])
def test_results_may_come_in_any_order(size: int) -> None:
    """78 with tiles of at most 50 and an overlap of 24 is a cut in which three tiles share pixels."""
    image, tiling = noise(size, 90), Tiling(size=50, margin=0, discard=8, blend=8)
    cut = list(tiles.tiles(image, tiling, 2))
    for seed in range(3):
        mosaic = Mosaic(size, 90, tiling, 2)
        assert len(mosaic) == len(cut)
        for index in np.random.default_rng(seed).permutation(len(cut)):
            mosaic.add(cut[index], cut[index].pixels.repeat(2, 2).repeat(2, 3))
        np.testing.assert_array_equal(mosaic.picture(), image.repeat(2, 0).repeat(2, 1))


def test_rows_above_the_first_outstanding_tile_hold_no_floats() -> None:
    image = noise(333, 90)
    mosaic = Mosaic(333, 90, TILING, 1)
    alive = []
    for tile in tiles.tiles(image, TILING, 1):
        mosaic.add(tile, tile.pixels)
        alive.append(len(mosaic._bands))
    assert max(alive) == 1


def test_a_picture_with_tiles_missing_is_not_given_out() -> None:
    cut = list(tiles.tiles(noise(60, 20), TILING, 1))
    mosaic = Mosaic(60, 20, TILING, 1)
    mosaic.add(cut[1], cut[1].pixels)
    with pytest.raises(ValueError, match="missing from row 0"):
        mosaic.picture()


def test_a_step_between_two_tiles_is_blended_not_cut() -> None:
    """Tiles that disagree (each answers its own row's number) fade into each other within `blend` pixels."""
    mosaic = Mosaic(60, 1, TILING, 1)
    cut = list(tiles.tiles(np.zeros((60, 1, 3), np.uint8), TILING, 1))
    assert len(cut) == 3
    for tile in cut:
        mosaic.add(tile, np.full_like(tile.pixels, tile.row / 2))
    column = mosaic.picture()[:, 0, 0].astype(int)
    assert column[0] == 0
    assert column[-1] == 255
    assert 0 < np.diff(column).max() <= 255 / 2 / TILING.blend + 2
    assert np.diff(column).min() >= 0


@pytest.mark.parametrize(
    ("options", "rule"),
    [({"size": 36, "discard": 7}, "more than twice the overlap"), ({"multiple": 3}, "a multiple of 3")],
)
def test_a_tiling_that_cannot_work_is_refused(options: dict[str, int], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Tiling(**({"size": 40, "margin": 4, "discard": 4, "blend": 6} | options))
