"""NIQE against what the published code gives."""

from itertools import pairwise

import numpy as np
import pytest

from services.quality.metrics.luminance import to_luminance
from services.quality.metrics.niqe import LEAST_SIDE, Pristine, features, naturalness, niqe
from tests.unit.quality.pictures import Pixels, as_jpeg, blurred, noisy, photograph


@pytest.fixture(scope="module")
def pristine() -> Pristine:
    return Pristine.load()


@pytest.mark.parametrize(
    ("name", "clean", "grainy", "soft"),
    [("astronaut", 3.06, 8.12, 7.16), ("chelsea", 2.57, 7.90, 8.30), ("coffee", 4.06, 9.47, 7.89)],
)
def test_distances_are_those_of_the_published_code(
    name: str, clean: float, grainy: float, soft: float, pristine: Pristine
) -> None:
    # mmagic 1.2.0's `niqe_core` with the released parameters, Pillow's bicubic filter in the place of its own.
    picture = photograph(name)
    for spoilt, expected in ((picture, clean), (noisy(picture, 16), grainy), (blurred(picture, 2), soft)):
        assert niqe(to_luminance(spoilt), pristine) == pytest.approx(expected, abs=0.05)


CROPS = {name: photograph(name)[-288:, -384:] for name in ("astronaut", "camera", "chelsea", "coffee")}
SPOILERS = {
    "noise": lambda crop: [noisy(crop, by) for by in (0, 8, 16, 32)],
    "blur": lambda crop: [blurred(crop, by) for by in (0, 1, 2, 4)],
    "jpeg": lambda crop: [as_jpeg(crop, by) for by in (95, 40, 15, 8)],
}


@pytest.mark.parametrize("name", CROPS)
@pytest.mark.parametrize("spoiler", SPOILERS)
def test_the_more_is_spoilt_the_less_natural(name: str, spoiler: str, pristine: Pristine) -> None:
    values = [naturalness(to_luminance(spoilt), pristine) for spoilt in SPOILERS[spoiler](CROPS[name])]
    known = [value for value in values if value is not None]
    assert len(known) == 4
    assert all(after <= before + 0.02 for before, after in pairwise(known))
    assert known[-1] < known[0] - 0.15


@pytest.mark.parametrize("shape", [(LEAST_SIDE - 1, 400), (400, LEAST_SIDE - 1), (8, 8)])
def test_too_few_pixels_have_no_distance(shape: tuple[int, int], pristine: Pristine) -> None:
    assert niqe(np.full(shape, 10, np.float32), pristine) is None


def test_plain_ground_has_no_distance(pristine: Pristine) -> None:
    plain: Pixels = np.full((300, 300, 3), 90, np.uint8)
    assert naturalness(to_luminance(plain), pristine) is None


def test_every_whole_patch_gives_36_features() -> None:
    assert features(to_luminance(photograph("chelsea"))).shape == (3 * 4, 36)
