"""Nobody can serve: the error names what stands in the way and what to do."""

import math

import pytest

from router.decision import decide
from router.demand import Demand, Modality
from router.policy import load_policy
from router.refusals import check_model, refused
from router.settings import WEIGHTS_FILE
from router.snapshot import Snapshot, State
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from tests.unit.router.scripted import view

POLICY = load_policy(WEIGHTS_FILE)
away = view("triton/away", state=State.UNAVAILABLE)
bare = view("triton/bare", state=State.NEEDS_WEIGHTS)
full = view("triton/full", in_flight=2, waiting=4, call_seconds=3.0)
fuller = view("triton/fuller", in_flight=2, waiting=4, call_seconds=9.0)
small = view("triton/small", max_steps=50)
ready = view("triton/ready")
slow = view("triton/slow", pace=2.0)


def error(demand, *backends):
    snapshot = Snapshot(backends)
    decision = decide(demand, snapshot, POLICY)
    assert not decision.candidates
    return refused(decision, snapshot)


@pytest.mark.parametrize(
    ("demand", "backends", "name", "told"),
    [
        (Demand(), (away, bare), "NO_BACKEND", "triton/away does not answer; triton/bare needs weights"),
        (
            Demand(modality=Modality.VIDEO),
            (ready,),
            "NO_BACKEND",
            "no backend makes video: triton/ready makes text-to-image, not video",
        ),
        (Demand(), (), "NO_BACKEND", "no backend makes text-to-image"),
        (
            Demand(modality=Modality.VIDEO, model="ready"),
            (ready,),
            "MODEL_UNAVAILABLE",
            "no backend makes video: triton/ready makes text-to-image, not video",
        ),
        (
            Demand(external=False),
            (view("openai/one", external=True), bare, view("triton/own", by_name=True)),
            "NO_BACKEND",
            (
                "openai/one is an external provider, which this tenant does not allow; triton/bare needs weights: "
                "run `vmesh models build`; triton/own draws only for those who name it"
            ),
        ),
        (
            Demand(time_limit=0.5),
            (bare, ready, slow),
            "DEADLINE_EXCEEDED",
            "nobody is expected to be done in 0.5 s; triton/ready would be the soonest, in 0.8 ± 0.0 s",
        ),
        (Demand(time_limit=0.5), (ready, away), "NO_BACKEND", "triton/ready is expected to take 0.8 ± 0.0 s"),
        (Demand(time_limit=0.5), (ready, full), "OVERLOADED", "is full"),
        (
            Demand(max_usd=0.03, images=2),
            (view("a/dear", price=0.05), view("a/cheap", price=0.02), view("a/unknown", price=math.inf)),
            "FIELD_INVALID",
            "max_cost_usd: the cheapest is cheap at $0.04",
        ),
        (Demand(max_usd=1), (view("a/unknown", price=math.inf),), "NO_BACKEND", "has no known price"),
        (
            Demand(prompt_length=2000),
            (view("a/short", max_prompt=100), view("a/long", max_prompt=1000)),
            "FIELD_INVALID",
            "image.prompt: long takes at most 1000 characters",
        ),
        (
            Demand(edits=True),
            (ready,),
            "FIELD_INVALID",
            "image.source_image: ready takes no picture to work from; leave it out",
        ),
        (
            Demand(modality=Modality.VIDEO, duration=60),
            (view("a/clip", modality=Modality.VIDEO, durations=(5.0, 10.0)),),
            "FIELD_INVALID",
            "video.duration: clip makes at most 10 s",
        ),
        (Demand(model="away"), (away, ready), "MODEL_UNAVAILABLE", "triton/away does not answer"),
        (Demand(model="bare"), (bare, ready), "MODEL_NEEDS_WEIGHTS", "run `vmesh models build`"),
        (Demand(), (bare,), "NO_BACKEND", "needs weights"),
        (Demand(), (away, full), "OVERLOADED", "is full; try again in 8 s"),
        (Demand(steps=101), (small, ready), "FIELD_INVALID", "image.steps: ready takes at most 100"),
        (
            Demand(steps=101, model="small"),
            (small, ready),
            "FIELD_INVALID",
            "image.steps: small takes at most 50",
        ),
        (Demand(images=17), (ready,), "FIELD_INVALID", "image.num_images: ready takes at most 16"),
        (Demand(steps=60), (small, away), "NO_BACKEND", "triton/away does not answer"),
        (Demand(steps=101), (small, bare), "FIELD_INVALID", "image.steps"),
    ],
)
def test_the_error_fits_what_stands_in_the_way(demand, backends, name, told):
    caught = error(demand, *backends)
    assert caught.name == name
    assert told in caught.message


def test_a_field_error_names_the_field():
    assert error(Demand(steps=101), ready).field == "image.steps"


def test_a_long_list_of_refusals_is_cut():
    """An error travels in gRPC's trailers, which end at 8 KiB."""
    caught = error(
        Demand(), *(view(f"triton/backend_{index}", state=State.UNAVAILABLE) for index in range(500))
    )
    assert caught.message.endswith("triton/backend_19 does not answer; and 480 more")
    assert len(caught.status().SerializeToString()) < 4096


def test_paid_models_that_nobody_configured_are_counted_and_not_listed():
    unused = [view(f"openai/model_{index}", state=State.NOT_CONFIGURED) for index in range(14)]
    caught = error(Demand(), away, *unused, view("openai/old", state=State.RETIRED))
    assert caught.message == (
        "triton/away does not answer; "
        "15 models of paid providers are not configured or shut down (`vmesh providers` tells)"
    )
    named = error(Demand(model="model_3"), away, *unused)
    assert "openai/model_3 is not configured" in named.message


def test_full_tells_the_soonest_wait():
    caught = error(Demand(), fuller, full)
    assert caught.estimated_wait == caught.retry_after == pytest.approx(3.0 * 5 / 2)
    assert caught.queue_position == 5


def test_what_is_away_may_be_tried_again_and_what_lacks_weights_not():
    assert error(Demand(model="away"), away).retry_after > 0
    assert error(Demand(model="bare"), bare).retry_after is None


def test_alternatives_are_ready_models_of_the_same_kind():
    video = view("triton/video", modality=Modality.VIDEO)
    caught = error(Demand(model="away"), away, bare, ready, video)
    assert caught.alternative_models == ["ready"]


def test_an_unknown_model_is_told_with_near_names():
    snapshot = Snapshot((view("triton/text_to_image_house"), view("triton/sketch")))
    check_model("", snapshot)
    check_model("sketch", snapshot)
    with pytest.raises(MeshError) as caught:
        check_model("text_to_image_hause", snapshot)
    assert caught.value.reason == errors_pb2.ERROR_REASON_MODEL_UNKNOWN
    assert caught.value.suggestions == ["text_to_image_house"]
    assert caught.value.field == "image.model_preference"
    with pytest.raises(MeshError) as caught:
        check_model("zzz", snapshot)
    assert caught.value.suggestions == ["sketch", "text_to_image_house"]
