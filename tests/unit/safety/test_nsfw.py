import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety.nsfw import Scale, squares, views
from tests.unit.safety.shipped import SCALE


@pytest.mark.parametrize(
    ("probability", "severity"),
    [(0, 0), (0.19, 0), (0.2, 1), (0.5, 2), (0.79, 3), (0.8, 4), (0.9, 5), (0.97, 6), (1, 6)],
)
def test_severity(probability: float, severity: int) -> None:
    assert SCALE.severity(probability) == severity


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, -0.1, 1.1])
def test_what_is_no_probability_is_never_taken_for_safe(nonsense: float) -> None:
    with pytest.raises(ValueError, match="not a probability"):
        SCALE.severity(nonsense)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [{"probability": 0.0, "severity": 1}],
        [{"probability": 0.5, "severity": 8}],
        [{"probability": 0.5, "severity": 2}, {"probability": 0.5, "severity": 3}],
        [{"probability": 0.5, "severity": 3}, {"probability": 0.6, "severity": 2}],
    ],
)
def test_parse_refuses_steps_that_do_not_rise(steps: list[dict[str, float]]) -> None:
    with pytest.raises(ValueError, match="must"):
        Scale.parse(steps)


@pytest.mark.parametrize(
    ("height", "width", "count"),
    [(64, 64, 2), (1, 1, 2), (1024, 1024, 2), (512, 1024, 2), (256, 1024, 6), (2048, 256, 10), (3, 4000, 16)],
)
def test_views_fit_one_batch(height: int, width: int, count: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    shown = views(picture)
    assert shown.shape == (count, 224, 224, 3)
    assert shown.dtype == np.uint8


def test_views_show_the_border_that_the_centre_leaves_out() -> None:
    picture = np.zeros((512, 512, 3), dtype=np.uint8)
    picture[:, :24] = 255  # within the 6 % that the authors' crop loses
    centre, whole = views(picture)
    assert centre.max() == 0
    assert whole[:, 0].min() == 255


def test_views_average_fine_detail() -> None:
    picture = np.zeros((2048, 2048, 3), dtype=np.uint8)
    picture[::2] = 255
    centre, whole = views(picture)
    assert abs(float(centre.mean()) - 127.5) < 2
    assert centre.std() < 8
    assert whole.std() < 8


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_squares_cover_a_long_picture(width: int, height: int) -> None:
    boxes = squares(width, height)
    if max(width, height) <= 2 * min(width, height):
        assert boxes == []
        return
    assert len(boxes) <= 14
    axis = 0 if width >= height else 1
    long = max(width, height)
    spans = sorted((box[axis], box[axis + 2]) for box in boxes)
    assert spans[0][0] == 0
    assert spans[-1][1] == long
    assert all(later[0] <= earlier[1] for earlier, later in pairwise(spans))
    assert all(
        0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in boxes
    )
