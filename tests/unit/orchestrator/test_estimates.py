import pytest
from google.protobuf.duration_pb2 import Duration

from scrollintel.visual.v1 import spec_pb2
from scrollintel.visual.v1.events_pb2 import Candidate
from services.orchestrator import defaults
from services.orchestrator.estimates import estimate, routed
from tests.unit.orchestrator.scripted import image_request


def image(**fields):
    return defaults.fill(image_request(**fields).spec, seed=lambda: 7).image


def candidate(model="house", quality=0.5, seconds=2, usd=0.0, refusal=""):
    return Candidate(
        model=model,
        predicted_quality=quality,
        predicted_time=Duration(seconds=seconds),
        predicted_cost_usd=usd,
        refusal=refusal,
    )


HOUSE = candidate()
FINE = candidate("fine", quality=0.8, seconds=5, usd=0.04)  # what all pictures of the request cost together
POOR = candidate("poor", quality=0.4, seconds=90, usd=9.0)
AWAY = candidate("away", quality=0.9, seconds=90, usd=9.0, refusal="is away")
ALL = [HOUSE, POOR, FINE, AWAY]


@pytest.mark.parametrize(
    ("asked", "candidates", "limit", "drawings", "usd", "seconds"),
    [
        pytest.param(image(), ALL, None, 1, 0.0, 2, id="drawn once, by the first"),
        pytest.param(image(num_images=4), [FINE], None, 4, 0.04, 5, id="several at once"),
        pytest.param(image(min_quality=0.6), [HOUSE], None, 3, 0.0, 6, id="three times by the only one"),
        pytest.param(image(min_quality=0.6), ALL, None, 3, 0.08, 12, id="twice more by the better one"),
        pytest.param(image(min_quality=0.6), ALL, 0.05, 3, 0.05, 12, id="within the limit"),
        pytest.param(image(min_quality=0.6, max_attempts=1), ALL, None, 1, 0.0, 2, id="one attempt"),
        pytest.param(
            image(min_quality=0.6, num_images=3), ALL, None, 9, 0.08, 22, id="two pictures at a time"
        ),
        pytest.param(
            image(min_quality=0.6, model_preference="house"),
            ALL,
            None,
            3,
            0.0,
            6,
            id="the model that was named",
        ),
    ],
)
def test_what_it_comes_to_at_most(asked, candidates, limit, drawings, usd, seconds):
    answer = estimate(asked, candidates, limit)
    assert list(answer.candidates) == candidates
    assert answer.most_drawings == drawings
    assert answer.most_cost_usd == pytest.approx(usd)
    assert answer.most_time.ToTimedelta().total_seconds() == seconds


def test_what_nobody_knows_is_absent():
    nobody = estimate(image(), [AWAY], None)
    assert (nobody.most_drawings, nobody.HasField("most_cost_usd"), nobody.HasField("most_time")) == (
        1,
        False,
        False,
    )
    unpriced = candidate(usd=float("inf"))
    assert not estimate(image(), [unpriced], None).HasField("most_cost_usd")
    assert estimate(image(), [unpriced], 0.5).most_cost_usd == 0.5


def test_the_router_is_asked_as_it_will_be_and_not_of_the_goal():
    request = routed(image(min_quality=0.6), spec_pb2.OBJECTIVE_COST, 0.5)
    assert (request.objective, request.max_cost_usd) == (spec_pb2.OBJECTIVE_COST, 0.5)
    assert (request.image.width, request.image.num_images) == (1024, 1)
    assert not request.image.HasField("min_quality")
    plain = routed(image(), None, None)
    assert not plain.HasField("objective")
    assert not plain.HasField("max_cost_usd")
