"""A picture that is drawn again: what the client asks, reads and shows of it."""

import pytest

from scrollintel.visual import PromptError, VisualClient, events
from scrollintel.visual.cli import wording
from scrollintel.visual.events import Decision, Judged
from scrollintel.visual.v1 import events_pb2, generation_pb2, spec_pb2
from tests.unit.client.scripted import Script, playing, whole_life


async def nothing(_: str) -> bytes:
    return b""


def read(**fields) -> Judged:
    values = {
        "index": 1,
        "attempt": 2,
        "score": 0.41,
        "min_quality": 0.6,
        "metric": spec_pb2.QUALITY_METRIC_PROMPT_ADHERENCE,
        "decision": events_pb2.DECISION_REGENERATE,
        "reason": "0.41 is under 0.60; another [seed] is tried",
        "model": "house",
        "seed": 0,
    }
    judged = events_pb2.Judged(**values | fields)
    event = events.read(generation_pb2.GenerationEvent(judged=judged), nothing)
    assert isinstance(event, Judged)
    return event


def test_a_judged_picture_arrives_typed():
    event = read()
    assert (event.index, event.attempt, event.score, event.seed) == (1, 2, 0.41, 0)
    assert (event.metric, event.decision, event.delivered) == ("prompt_adherence", Decision.REGENERATE, 0)
    absent = read(score=None, seed=None, metric=99, decision=99)
    assert (absent.score, absent.seed) == (None, None)
    assert (absent.metric, absent.decision) == ("unknown", Decision.UNKNOWN)


@pytest.mark.parametrize(
    ("fields", "said", "next_"),
    [
        ({}, "drawn again", "drawing again"),
        ({"decision": events_pb2.DECISION_ESCALATE}, "better model", "drawing again"),
        ({"decision": events_pb2.DECISION_ACCEPT, "delivered": 2}, "accepted", "signing"),
        ({"decision": events_pb2.DECISION_GIVE_UP, "delivered": 1}, "attempt 1 is delivered", "signing"),
    ],
)
def test_the_terminal_says_what_follows_and_why(fields, said, next_):
    event = read(**fields)
    label, line = wording.line(event)
    assert label == "judged"
    assert said in line
    assert "prompt adherence, 0.41 is under 0.60" in line
    assert "another \\[seed]" in line, "the reason is shown and not obeyed"
    assert wording.waiting(event) == next_


async def test_the_goal_goes_with_the_request():
    script = Script(whole_life())
    async with playing(script) as address, VisualClient(address) as client:
        await client.generate_image(
            "a cat", min_quality=0.6, max_attempts=2, quality_metric="prompt_adherence"
        ).result()
        with pytest.raises(PromptError, match="quality_metric"):
            client.generate_image("a cat", min_quality=0.6, quality_metric="beauty")
    image = script.requests[0].spec.image
    assert (image.min_quality, image.max_attempts) == (0.6, 2)
    assert image.quality_metric == spec_pb2.QUALITY_METRIC_PROMPT_ADHERENCE
