"""What scores come to together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrollintel.visual.v1.quality_pb2 import QualityMetrics
from services.quality.measure import Learnt, measure
from services.quality.scoring import WEIGHTS, Measured, overall
from tests.unit.quality.pictures import icon

scores = st.dictionaries(
    st.sampled_from([*WEIGHTS, "safety"]), st.floats(0, 1).map(lambda v: Measured(v, "m/1"))
)


def test_weights_add_up_and_name_fields_of_the_contract() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert set(WEIGHTS) <= set(QualityMetrics.DESCRIPTOR.fields_by_name)


@given(scores)
def test_overall_lies_between_the_scores_it_is_made_of(given_scores: dict[str, Measured]) -> None:
    together = overall(given_scores)
    values = [one.value for name, one in given_scores.items() if name in WEIGHTS]
    if not values:
        assert together is None
    else:
        assert together is not None
        assert min(values) - 1e-9 <= together.value <= max(values) + 1e-9


def test_a_missing_score_neither_helps_nor_hurts() -> None:
    some = overall({name: Measured(0.7, "m/1") for name in ["technical", "sharpness"]})
    assert some is not None
    assert some.value == pytest.approx(0.7)
    assert some.by == "weighted-mean/1"


def test_a_better_score_makes_a_better_whole() -> None:
    low = {name: Measured(0.5, "m/1") for name in WEIGHTS}
    for name in WEIGHTS:
        better, before = overall({**low, name: Measured(0.9, "m/1")}), overall(low)
        assert better is not None
        assert before is not None
        assert better.value > before.value


def test_a_picture_is_measured_by_name_and_version() -> None:
    found = measure(icon(), Learnt.load())
    assert {name: one.by for name, one in found.items()} == {
        "technical": "artifacts+banding+exposure/2",
        "noise": "immerkaer-median/1",
        "blockiness": "grid-steps/1",
        "banding": "clean-steps/1",
        "exposure": "lights/1",
        "sharpness": "blur-effect/1",
        "color_balance": "cast-cielab/1",
        "composition": "subject-placement/1",
    }
