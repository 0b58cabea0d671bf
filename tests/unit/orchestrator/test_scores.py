import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrollintel.visual.v1.quality_pb2 import QualityMetrics, Score
from scrollintel.visual.v1.safety_pb2 import CheckImageResponse, SafetyVerdict
from services.orchestrator import scores


def metrics(**values):
    return QualityMetrics(
        **{name: Score(value=value, measured_by=f"{name}/1") for name, value in values.items()}
    )


def test_a_mean_exists_only_where_every_picture_was_measured():
    joined = scores.mean([metrics(overall=0.2, sharpness=1.0), metrics(overall=0.6)])
    assert joined.overall.value == pytest.approx(0.4)
    assert joined.overall.measured_by == "overall/1"
    assert not joined.HasField("sharpness")
    assert scores.mean([]) == QualityMetrics()


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=16))
def test_a_mean_is_a_score(values):
    joined = scores.mean([metrics(technical=value) for value in values]).technical.value
    assert min(values) - 1e-9 <= joined <= min(1.0, max(values) + 1e-9)


def test_a_measured_zero_counts():
    assert scores.mean([metrics(overall=0.0), metrics(overall=1.0)]).overall.value == 0.5


def test_safety_stands_beside_the_other_scores():
    checked = CheckImageResponse(verdict=SafetyVerdict(checks=["open_nsfw/1"]), safety_score=0.9)
    before = metrics(overall=0.5)
    joined = scores.with_safety(before, checked)
    assert joined.safety == Score(value=0.9, measured_by="open_nsfw/1")
    assert joined.overall.value == 0.5
    assert not before.HasField("safety")
