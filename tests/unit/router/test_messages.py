"""What the caller of `Route` is told of every backend."""

import pytest

from router.decision import decide
from router.demand import Demand
from router.messages import candidates_of
from router.policy import load_policy
from router.settings import WEIGHTS_FILE
from router.snapshot import Snapshot, State
from tests.unit.router.scripted import forecast, judged, view


def test_every_backend_is_told_with_what_is_left_unknown_of_it():
    able = view("triton/able", forecast=forecast(0.1, noise=0.25), quality=judged(0.7, 0.05), price=0.02)
    away = view("triton/away", state=State.UNAVAILABLE)
    decision = decide(Demand(images=2), Snapshot((able, away)), load_policy(WEIGHTS_FILE))
    candidate, refused = candidates_of(decision)
    assert (candidate.backend, candidate.model, candidate.refusal) == ("triton/able", "able", "")
    assert candidate.scores.keys() == {"quality", "latency", "cost", "headroom"}
    assert candidate.predicted_time.ToNanoseconds() / 1e9 == pytest.approx(1.6)
    assert candidate.predicted_time_deviation.ToNanoseconds() / 1e9 == pytest.approx(0.4)
    assert candidate.predicted_cost_usd == pytest.approx(0.04)
    assert candidate.predicted_quality == pytest.approx(0.7)
    assert candidate.predicted_quality_deviation == pytest.approx(0.05)
    assert (refused.backend, refused.refusal, refused.score) == ("triton/away", "does not answer", 0)
