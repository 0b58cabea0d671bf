"""From cosine to prompt adherence."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.quality.adherence import Calibration, cosine, matcher_input

CURVE = Calibration(slope=12.0, offset=-4.0)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_curve_rises_within_bounds(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= CURVE.score(low) <= CURVE.score(high) <= 1


def test_the_curve_is_the_logistic() -> None:
    assert CURVE.score(1 / 3) == pytest.approx(0.5)
    assert Calibration(1e6, 0).score(-1) == pytest.approx(0)


def test_a_calibration_is_read_whatever_else_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"slope": 12, "offset": -4, "figures": {"seen": 1}}))
    assert Calibration.load(path) == CURVE


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"slope": 0, "offset": 1}', '{"slope": NaN, "offset": 1}', "x"]
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ValueError):
        Calibration.load(path)


@pytest.mark.parametrize("shape", [(128, 128), (300, 200), (200, 300), (20, 20), (1, 500)])
def test_any_picture_takes_the_models_size(shape: tuple[int, int]) -> None:
    assert matcher_input(np.zeros((*shape, 3), np.uint8), 128, 128).shape == (128, 128, 3)


def test_the_matcher_sees_the_middle() -> None:
    wide = np.zeros((64, 256, 3), np.uint8)
    wide[:, 96:160] = 255
    assert (matcher_input(wide, 32, 32) == 255).all()


def test_cosine() -> None:
    vectors = np.eye(3, dtype=np.float32)
    assert cosine(vectors[0], vectors[0]) == 1
    assert cosine(vectors[0], vectors[1]) == 0
    assert cosine(vectors[0], vectors[0] * 0) == 0
