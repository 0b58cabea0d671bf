"""What the router makes of a request, and what the caller of `Route` is told of every backend."""

import pytest

from router.decision import decide
from router.demand import Demand
from router.messages import candidates_of, demand_of
from router.policy import load_policy
from router.settings import WEIGHTS_FILE
from router.snapshot import Snapshot, State
from scrollintel.visual.v1 import router_pb2
from scrollintel.visual.v1.prompt_pb2 import PromptWording
from scrollintel.visual.v1.spec_pb2 import ImageSpec
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


def test_a_demand_knows_how_long_the_prompt_is_that_each_model_is_given():
    request = router_pb2.ExecuteRequest(
        image=ImageSpec(prompt="a" * 10),
        wordings=[PromptWording(models=["gen4-image", "b*"], prompt="\U0001f600" * 3)],
    )
    demand = demand_of(request)
    assert [demand.length_for(model) for model in ("gen4-image", "beta", "alpha")] == [6, 6, 10]
