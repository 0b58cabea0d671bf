"""What a drawing would come to, as the terminal says it."""

import json

import pytest
from google.protobuf.duration_pb2 import Duration

from scrollintel.visual.cli import estimate
from scrollintel.visual.estimate import Estimate
from scrollintel.visual.v1 import generation_pb2
from scrollintel.visual.v1.events_pb2 import Candidate

HOUSE = Candidate(
    backend="triton/house",
    model="house",
    score=0.82,
    predicted_quality=0.5,
    predicted_time=Duration(seconds=2),
)
AWAY = Candidate(backend="openai/fine", model="fine", refusal="costs $0.2, more than $0.1")


def read(**fields) -> Estimate:
    return Estimate.read(generation_pb2.EstimateGenerationResponse(candidates=[HOUSE, AWAY], **fields))


WHOLE = read(most_drawings=6, most_cost_usd=0.08, most_time=Duration(seconds=7))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (WHOLE, "at most 6 drawings, 7.0 s of drawing, $0.08"),
        (
            read(most_drawings=1, most_time=Duration(seconds=2)),
            "at most 1 drawing, 2.0 s of drawing, an unknown price",
        ),
        (read(most_drawings=1), "nobody can draw it"),
    ],
)
def test_who_could_draw_and_the_most_it_comes_to(capsys, answer, said):
    estimate.tell(answer, as_json=False)
    shown = capsys.readouterr().out
    assert "triton/house  0.82   0.50     2.0      $0" in shown
    assert "more than $0.1" in shown
    assert said in shown


def test_the_same_as_json(capsys):
    estimate.tell(WHOLE, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["most_drawings"], told["most_cost_usd"], told["most_seconds"]) == (6, 0.08, 7.0)
    assert [one["refusal"] for one in told["candidates"]] == ["", AWAY.refusal]
