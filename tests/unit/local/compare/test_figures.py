import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrollintel.visual.exceptions import ModelError
from services.local.compare.figures import Outcome, spread, summaries


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_a_spread_is_the_mean_and_the_deviation_of_a_sample(values):
    found = spread(values)
    assert math.isclose(found.mean, statistics.fmean(values), abs_tol=1e-9)
    variance = sum((value - found.mean) ** 2 for value in values) / (len(values) - 1)
    assert math.isclose(found.deviation or 0, math.sqrt(variance), abs_tol=1e-6)
    assert found.count == len(values)


def test_one_value_has_no_spread():
    assert spread([3.0]) == (found := spread([3.0]))
    assert found.deviation is None


def test_seconds_of_a_run_that_had_to_load_its_model_are_told_and_in_no_mean():
    cold = Outcome("a", "m", seconds=9.0, cold=True, scores={"overall": 0.5})
    (alone,) = summaries([cold])
    (both,) = summaries([cold, Outcome("b", "m", seconds=1.0, scores={"overall": 0.7})])
    assert cold.figure("seconds") == 9.0
    assert "seconds" not in alone.figures
    assert (both.figures["seconds"].mean, both.figures["seconds"].count) == (1.0, 1)
    assert both.figures["overall"].count == 2


def test_means_are_of_what_was_made_and_what_was_measured():
    outcomes = [
        Outcome("a", "house", seconds=2.0, cost_usd=0.0, scores={"overall": 0.4}),
        Outcome("b", "house", seconds=4.0, cost_usd=0.0, scores={"overall": 0.8, "aesthetic": 0.5}),
        Outcome("c", "house", seconds=None, error=ModelError("away")),
        Outcome("a", "sdxl", error=ModelError("needs weights")),
    ]
    house, sdxl = summaries(outcomes)
    assert (house.model, house.made, house.asked) == ("house", 2, 3)
    assert house.figures["overall"].mean == pytest.approx(0.6)
    assert house.figures["seconds"].deviation == pytest.approx(math.sqrt(2))
    assert house.figures["aesthetic"].count == 1
    assert "technical" not in house.figures
    assert (sdxl.made, sdxl.asked, dict(sdxl.figures)) == (0, 1, {})
