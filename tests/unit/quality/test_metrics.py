"""Every measurement moves the way its name says when a real picture is spoilt step by step."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from services.quality.measure import Learnt, compose, look, measure, measure_faults
from services.quality.metrics.artifacts import block_step, noise_deviation
from services.quality.metrics.attention import attention, saliency
from services.quality.metrics.banding import banding, step_share
from services.quality.metrics.color_balance import color_balance
from services.quality.metrics.composition import composition
from services.quality.metrics.exposure import exposure
from services.quality.metrics.luminance import LONGEST_SIDE, Pixels, bring_to_size, to_luminance
from services.quality.metrics.sharpness import sharpness
from tests.unit.quality.pictures import (
    as_jpeg,
    banded,
    blurred,
    exposed,
    icon,
    noisy,
    photograph,
    shipped,
    tinted,
)

FAULTS = ("noise", "blockiness", "banding", "exposure")
PHOTOGRAPHS = ["astronaut", "camera", "brick", "grass", "chelsea", "coffee"]


@pytest.fixture(scope="module")
def learnt() -> Learnt:
    return Learnt.load()


def picture(name: str) -> Pixels:
    return icon() if name == "icon" else photograph(name)


def falls(values: list[float], slack: float = 0.0) -> bool:
    """Whether each value is at most the one before, and the last is clearly below the first."""
    return all(b <= a + slack for a, b in pairwise(values)) and values[-1] < values[0] - 0.1


def technical_of(picture: Pixels, learnt: Learnt) -> float:
    return measure_faults(look(picture), learnt)["technical"].value


@pytest.mark.parametrize("name", [*PHOTOGRAPHS, "icon"])
def test_blur_lowers_sharpness(name: str) -> None:
    values = [sharpness(to_luminance(blurred(picture(name), by))) for by in (0, 0.7, 1.4, 2.8, 5.6)]
    assert falls([value for value in values if value is not None])
    assert values[0] is not None
    assert values[0] > 0.5


@pytest.mark.parametrize("name", [*PHOTOGRAPHS, "icon"])
def test_noise_lowers_technical(name: str, learnt: Learnt) -> None:
    # The slack: a photograph has grain of its own, and BRISQUE likes some as well as none.
    values = [technical_of(noisy(picture(name), by), learnt) for by in (0, 4, 8, 16, 32)]
    assert falls(values, slack=0.07)


@pytest.mark.parametrize("name", [*PHOTOGRAPHS, "icon"])
def test_blur_lowers_technical(name: str, learnt: Learnt) -> None:
    assert falls([technical_of(blurred(picture(name), by), learnt) for by in (0, 1.4, 2.8, 5.6)], slack=0.05)


@pytest.mark.parametrize("name", ["astronaut", "camera", "chelsea", "coffee"])
def test_jpeg_lowers_technical(name: str, learnt: Learnt) -> None:
    assert falls([technical_of(as_jpeg(picture(name), quality), learnt) for quality in (95, 40, 20, 8)])


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("astronaut", "brisque+banding+exposure/2"),
        ("chelsea", "brisque+banding+exposure/2"),
        ("icon", "artifacts+banding+exposure/2"),
    ],
)
def test_photographs_and_drawings_are_judged_by_what_fits_them(name: str, by: str, learnt: Learnt) -> None:
    found = measure_faults(look(picture(name)), learnt)["technical"]
    assert found.by == by
    assert found.value > 0.9


@pytest.mark.parametrize("name", ["chelsea", "astronaut", "icon"])
def test_spoiling_a_picture_does_not_make_it_another_kind(name: str) -> None:
    drawn = [
        look(spoilt).drawn
        for spoilt in (
            picture(name),
            noisy(picture(name), 8),
            blurred(picture(name), 2),
            as_jpeg(picture(name), 30),
        )
    ]
    assert all((share > 0.8) == (name == "icon") for share in drawn)


@pytest.mark.parametrize("deviation", [2, 5, 10, 20])
def test_noise_is_estimated(deviation: float) -> None:
    grey = noisy(np.full((256, 256, 3), 128, np.uint8), deviation)[..., 0].astype(np.float32)
    assert noise_deviation(grey) == pytest.approx(deviation, rel=0.1)


def test_blocks_are_told_from_edges() -> None:
    assert block_step(to_luminance(as_jpeg(photograph("astronaut"), 8))) > 4
    assert block_step(to_luminance(photograph("astronaut"))) < 0.5
    edge = np.zeros((256, 256), np.float32)
    edge[:, 128:] = 255  # one edge on the grid is an edge
    assert block_step(edge) == 0


@pytest.mark.parametrize("name", [*PHOTOGRAPHS, "icon"])
def test_fewer_levels_lower_banding(name: str) -> None:
    values = [banding(to_luminance(banded(picture(name), step))) for step in (1, 4, 8, 16, 32)]
    assert values[0] > 0.9
    assert all(b <= a + 0.01 for a, b in pairwise(values))
    assert values[-1] < values[0] - (0.1 if name != "grass" else 0.03)  # what has no glide shows no bands


def test_a_glide_of_eight_bits_is_no_banding_and_fewer_levels_are_nothing_else() -> None:
    glide = np.tile(np.linspace(60, 180, 512).round().astype(np.uint8)[:, None, None], (1, 512, 3))
    assert step_share(to_luminance(glide)) == 0
    assert step_share(to_luminance(banded(glide, 8))) > 0.9


@pytest.mark.parametrize("by", ["darker", "brighter"])
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_wrong_exposure_lowers_it(name: str, by: str) -> None:
    gains = (1, 0.5, 0.25, 0.1) if by == "darker" else (1, 2, 4, 8)
    values = [exposure(to_luminance(exposed(picture(name), gain)), 0) for gain in gains]
    assert values[0] > 0.9
    assert falls(values)


@pytest.mark.parametrize("name", ["demo", "icon"])
def test_clean_drawings_are_not_punished(name: str, learnt: Learnt) -> None:
    drawing = icon(1024) if name == "icon" else shipped(name)
    scores = measure(drawing, learnt)
    assert "naturalness" not in scores
    assert min(scores[fault].value for fault in (*FAULTS, "technical")) > 0.9


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_the_dark_is_no_way_to_be_faultless(name: str, learnt: Learnt) -> None:
    assert falls(
        [technical_of(exposed(picture(name), gain), learnt) for gain in (1, 0.5, 0.25, 0.1)], slack=0.02
    )


@pytest.mark.parametrize("name", ["astronaut", "camera", "icon"])
def test_a_cast_lowers_color_balance(name: str) -> None:
    values = [color_balance(tinted(picture(name), by)) for by in (0, 0.2, 0.4, 0.6, 0.8)]
    assert values[0] > 0.9
    assert falls(values, slack=0.01)


def test_a_coloured_subject_on_a_neutral_ground_is_no_cast() -> None:
    assert color_balance(icon()) > 0.95


@pytest.mark.parametrize("along", [(1, 0), (0, 1), (-1, -1)])
def test_a_subject_that_leaves_the_frame_lowers_composition(along: tuple[int, int]) -> None:
    def score(shift: float) -> float:
        value = composition(icon(centre=(0.5 + shift * along[0], 0.5 + shift * along[1]), radius=0.2))
        assert value is not None
        return value

    assert score(0) > 0.95
    assert score(1 / 6 if 0 not in along else 0.05) > 0.85
    assert falls([score(shift) for shift in (0, 0.3, 0.4, 0.45)])


@pytest.mark.parametrize("name", ["chelsea", "coffee", "camera"])
def test_a_subject_that_is_pushed_to_the_side_lowers_what_attention_says(name: str) -> None:
    whole = picture(name)
    width = whole.shape[1]
    values = [attention(np.ascontiguousarray(whole[:, int(cut * width) :])) for cut in (0, 0.3, 0.55)]
    known = [value for value in values if value is not None]
    assert known[0] > 0.8
    assert falls(known, slack=0.05)


def test_what_is_odd_draws_the_eye() -> None:
    wall = photograph("brick").copy()
    wall[150:180, 330:360] = (250, 250, 250)
    found = saliency(wall)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert (row / found.shape[0], column / found.shape[1]) == pytest.approx((165 / 512, 345 / 512), abs=0.06)


@pytest.mark.parametrize(
    ("name", "by"), [("chelsea", "spectral-residual/1"), ("icon", "subject-placement/1")]
)
def test_photographs_are_composed_by_attention_and_drawings_by_their_ground(name: str, by: str) -> None:
    found = compose(look(picture(name)))
    assert found is not None
    assert found.by == by


def test_what_cannot_be_measured_is_absent(learnt: Learnt) -> None:
    plain = np.full((64, 64, 3), 200, np.uint8)
    assert sharpness(to_luminance(plain)) is None
    assert composition(plain) is None
    assert attention(plain) is None
    tiny = noisy(np.full((5, 9, 3), 100, np.uint8), 20)
    assert not {"technical", "naturalness"} & set(measure(tiny, learnt))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 5), (13, 14), (14, 14), (15, 900), (200, 2)])
@pytest.mark.parametrize("make", [np.zeros, lambda shape: np.random.default_rng(0).integers(0, 256, shape)])
def test_every_shape_gives_scores_within_bounds(
    shape: tuple[int, int], make: Callable[..., Pixels], learnt: Learnt
) -> None:
    pixels = np.asarray(make((*shape, 3)), np.uint8)
    assert all(0 <= score.value <= 1 for score in measure(pixels, learnt).values())


def test_large_pictures_are_seen_smaller_and_small_ones_as_they_are() -> None:
    assert bring_to_size(np.zeros((100, 3000, 3), np.uint8)).shape == (34, LONGEST_SIDE, 3)
    small = np.zeros((100, 300, 3), np.uint8)
    assert bring_to_size(small) is small
