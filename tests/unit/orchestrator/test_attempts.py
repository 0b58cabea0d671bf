"""The loop through the whole pipeline, over scripted steps."""

import asyncio
import itertools
import math

import pytest
from google.protobuf.duration_pb2 import Duration

from scrollintel.visual.v1 import errors_pb2, events_pb2, spec_pb2
from scrollintel.visual.v1.assets_pb2 import CreateAssetRequest
from scrollintel.visual.v1.events_pb2 import Candidate, Judged, Output, Preview, Routed, Scored
from scrollintel.visual.v1.quality_pb2 import QualityMetrics, Score
from scrollintel.visual.v1.router_pb2 import ExecuteRequest
from scrollintel.visual.v1.safety_pb2 import SealMediaRequest
from services.orchestrator import acceptance, defaults, pipeline
from services.orchestrator.acceptance import FINISH_SECONDS
from services.orchestrator.attempts import GOAL, REMEMBERED_BEFORE_SECONDS
from services.orchestrator.pipeline import Work
from services.runtime.errors import MeshError
from tests.unit.orchestrator.scripted import DRAW_STEPS, RUN, ScriptedSteps, image_request, index_of

AWAY = MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "the model is away", retry_after=2.0)
ACCEPT, REGENERATE = events_pb2.DECISION_ACCEPT, events_pb2.DECISION_REGENERATE
ESCALATE, GIVE_UP = events_pb2.DECISION_ESCALATE, events_pb2.DECISION_GIVE_UP
HOUSE = "text_to_image_house"
LATE = 20.0  # seconds: what has not come by then does not come


def work(*, name="", usd=None, previews=False, **fields):
    spec = defaults.fill(image_request(**{"min_quality": 0.6} | fields).spec, seed=lambda: 7)
    return Work("gen-1", spec, request_id=name, max_cost_usd=usd, previews=previews)


async def run(steps, asked=None, seconds=lambda: math.inf):
    told = []
    made = await pipeline.run(asked or work(), steps, told.append, seconds)
    return made, told


def of(told, kind):
    return [each for each in told if isinstance(each, kind)]


def decisions(told):
    return [(each.attempt, each.decision) for each in of(told, Judged)]


def executions(steps):
    return [each for each in steps.requests if isinstance(each, ExecuteRequest)]


def better(model="fine", **fields):
    values = {"predicted_quality": 0.8, "predicted_time": Duration(seconds=1)} | fields
    return Candidate(backend=f"paid/{model}", model=model, **values)


def test_a_goal_is_filled_in_and_nothing_where_there_is_none():
    image = work().spec.image
    assert (image.max_attempts, image.quality_metric) == (3, spec_pb2.QUALITY_METRIC_OVERALL)
    plain = defaults.fill(image_request().spec).image
    assert not any(plain.HasField(field) for field in GOAL)


async def test_without_a_goal_every_picture_is_drawn_once_and_not_judged():
    steps = ScriptedSteps(overall=0.1)
    made, told = await run(steps, Work("gen-1", defaults.fill(image_request().spec, seed=lambda: 7)))
    assert not of(told, Judged)
    assert len(executions(steps)) == 1
    assert "attempts" not in made.assets[0].metadata
    assert steps.remembered == [True]


async def test_a_picture_that_reaches_its_goal_is_delivered_at_once():
    steps = ScriptedSteps(overall=0.8)
    made, told = await run(steps)
    (judged,) = of(told, Judged)
    assert (judged.attempt, judged.decision, judged.delivered) == (1, ACCEPT, 1)
    assert (judged.score, judged.min_quality) == (pytest.approx(0.8), pytest.approx(0.6))
    assert (judged.metric, judged.model, judged.seed) == (spec_pb2.QUALITY_METRIC_OVERALL, HOUSE, 7)
    assert made.assets[0].metadata["attempts"] == "1"


async def test_a_picture_that_falls_short_is_drawn_again_from_another_seed():
    steps = ScriptedSteps(overalls=[0.55, 0.7])
    made, told = await run(steps)
    assert decisions(told) == [(1, REGENERATE), (2, ACCEPT)]
    first, again = executions(steps)
    assert again.image.seed == defaults.attempt_seed(7, 2) != first.image.seed
    assert (again.image.model_preference, again.image.num_images) == (HOUSE, 1)
    assert not again.image.HasField("min_quality"), "it is no matter of who draws"
    (asset,) = made.assets
    assert (asset.seed, index_of(asset.media)) == (again.image.seed, RUN)
    assert (asset.metadata["attempt"], asset.metadata["attempts"]) == ("2", "2")
    assert len(of(told, Output)) == len(of(told, Scored)) == steps.calls["create_asset"] == 1


async def test_the_best_is_delivered_when_none_reaches_the_goal():
    steps = ScriptedSteps(overalls=[0.5, 0.55, 0.2])
    made, told = await run(steps)
    assert decisions(told) == [(1, REGENERATE), (2, REGENERATE), (3, GIVE_UP)]
    assert of(told, Judged)[-1].delivered == 2
    assert index_of(made.assets[0].media) == RUN
    assert made.assets[0].metadata["attempt"] == "2"


async def test_only_what_is_delivered_is_remembered_and_the_model_is_charted_once():
    steps = ScriptedSteps(overalls=[0.5, 0.7])
    await run(steps)
    assert steps.remembered == [False, False, True]


async def test_a_stage_is_told_once_of_each_picture():
    steps = ScriptedSteps(overalls=[0.1] * 6)
    _, told = await run(steps, work(num_images=2))
    stages = [
        (each.stage, each.k) for each in of(told, events_pb2.Step) if each.stage != events_pb2.STAGE_DRAW
    ]
    assert len(stages) == len(set(stages)) == 8


async def test_each_picture_has_its_own_loop_and_its_own_number():
    steps = ScriptedSteps(overalls=[0.9, 0.55, 0.9])
    made, told = await run(steps, work(num_images=2, previews=True))
    last = of(told, Judged)[-1]
    assert (last.index, last.attempt, last.decision) == (1, 2, ACCEPT)
    assert [asset.id for asset in made.assets] == ["gen-1-0", "gen-1-1"]
    assert [asset.seed for asset in made.assets] == [7, defaults.attempt_seed(8, 2)]
    assert [each.index for each in of(told, Preview)] == [0] * DRAW_STEPS + [1] * DRAW_STEPS
    assert {each.index for each in of(told, Output)} == {0, 1}


async def test_attempts_are_named_and_seeded_by_the_work_and_so_the_same_when_it_is_done_again():
    runs = []
    for name in ("named", "named", "other"):
        steps = ScriptedSteps(overalls=[0.5, 0.5, 0.5])
        await run(steps, work(name=name))
        runs.append([(each.request_id, each.image.seed) for each in executions(steps)])
    assert runs[0] == runs[1]
    names = {name for each in (runs[0], runs[2]) for name, _ in each}
    assert len(names) == 6
    assert all(len(name) <= 64 for name in names)


async def test_a_picture_far_from_its_goal_goes_to_a_better_model():
    steps = ScriptedSteps(overalls=[0.3, 0.7], spares=[better(predicted_cost_usd=0.04)])
    made, told = await run(steps, work(usd=0.05))
    assert decisions(told) == [(1, ESCALATE), (2, ACCEPT)]
    again = executions(steps)[1]
    assert (again.image.model_preference, again.max_cost_usd) == ("fine", pytest.approx(0.04))
    assert (made.model, made.cost_usd) == ("fine", pytest.approx(0.04))


@pytest.mark.parametrize(
    "asked",
    [work(model_preference=HOUSE), work(usd=0.03)],
    ids=["a model was named", "it costs too much"],
)
async def test_no_better_model_is_taken(asked):
    steps = ScriptedSteps(overalls=[0.3, 0.7], spares=[better(predicted_cost_usd=0.04)])
    _, told = await run(steps, asked)
    assert decisions(told) == [(1, REGENERATE), (2, ACCEPT)]


async def test_all_attempts_together_stay_within_the_cost_limit():
    steps = ScriptedSteps(overall=0.1, usd=0.02)
    made, told = await run(steps, work(num_images=2, usd=0.07))
    assert made.cost_usd == pytest.approx(0.06)
    assert [each.image.num_images for each in executions(steps)] == [2, 1], (
        "what one puts by, the other lacks"
    )
    assert [each.decision for each in of(told, Judged)].count(GIVE_UP) == 2
    assert all("another costs $0.02" in each.reason for each in of(told, Judged) if each.decision == GIVE_UP)


@pytest.mark.parametrize("house", [0.0, math.inf])
async def test_what_has_no_known_price_has_none_in_the_end(house):
    steps = ScriptedSteps(overalls=[0.1, 0.7], usd=house, spares=[better(predicted_cost_usd=math.inf)])
    made, _ = await run(steps)
    assert len(executions(steps)) == 2
    assert made.cost_usd == math.inf


async def test_the_whole_limit_may_be_spent():
    steps = ScriptedSteps(overall=0.55, usd=0.02)
    made, _ = await run(steps, work(usd=0.06))
    assert len(executions(steps)) == 3
    assert made.cost_usd == pytest.approx(0.06)


async def test_pictures_that_nobody_has_looked_at_come_before_drawing_others_again(monkeypatch):
    monkeypatch.setattr(acceptance, "FINISH_SECONDS", 100.0)
    steps = ScriptedSteps(overall=0.1)
    made, told = await run(steps, work(num_images=4), seconds=lambda: 180.0)
    assert len(made.assets) == 4
    drawn = {index: [one.decision for one in of(told, Judged) if one.index == index] for index in (0, 3)}
    assert drawn == {0: [GIVE_UP], 3: [REGENERATE, REGENERATE, GIVE_UP]}


class Forgetful(ScriptedSteps):
    """Scores, and never ends to remember."""

    async def score_image(self, image, prompt, model="", *, remember=True):
        if remember:
            self.hanging = {"score_image"}
        return await super().score_image(image, prompt, model, remember=remember)


async def test_a_picture_is_not_lost_because_there_is_no_time_to_remember_it():
    steps = Forgetful(overall=0.9)
    made, _ = await asyncio.wait_for(run(steps, seconds=lambda: REMEMBERED_BEFORE_SECONDS + 0.05), LATE)
    assert made.assets[0].quality.overall.value == pytest.approx(0.9)
    assert steps.stopped == ["score_image"]


class Distracted(ScriptedSteps):
    """Scores well, and at the second look measures nothing but uniqueness."""

    async def score_image(self, image, prompt, model="", *, remember=True):
        scores = await super().score_image(image, prompt, model, remember=remember)
        unlike = QualityMetrics(uniqueness=Score(value=0.25 if remember else 0.75, measured_by="matcher"))
        if remember:
            return unlike
        scores.MergeFrom(unlike)
        return scores


async def test_what_is_delivered_has_the_scores_that_it_was_judged_by():
    made, told = await run(Distracted(overall=0.9))
    (scored,) = of(told, Scored)
    assert scored.metrics == made.assets[0].quality
    assert (scored.metrics.overall.value, scored.metrics.uniqueness.value) == (pytest.approx(0.9), 0.25)


async def test_what_would_not_end_in_time_is_not_begun():
    steps = ScriptedSteps(overall=0.1)
    _, told = await run(steps, seconds=lambda: 1.0)
    assert decisions(told) == [(1, GIVE_UP)]
    assert "left" in of(told, Judged)[0].reason
    assert len(executions(steps)) == 1


class Stalling(ScriptedSteps):
    """Draws once, and then never ends."""

    async def execute(self, request):
        if self.runs[request.generation_id]:
            self.hanging = {"step"}
        async for event in super().execute(request):
            yield event


async def test_an_attempt_that_takes_too_long_is_stopped_and_the_first_one_delivered():
    steps = Stalling(overall=0.1)
    seconds = itertools.chain(
        [math.inf], itertools.repeat(FINISH_SECONDS + 0.1)
    )  # at first there is time enough
    made, told = await run(steps, seconds=lambda: next(seconds))
    assert decisions(told) == [(1, REGENERATE), (2, GIVE_UP)]
    assert "longer than there was time for" in of(told, Judged)[-1].reason
    assert steps.stopped == ["step"]
    assert index_of(made.assets[0].media) == 0


async def test_cancelling_stops_the_second_attempt_and_delivers_nothing():
    steps = Stalling(overall=0.1)
    task = asyncio.create_task(run(steps))
    await asyncio.wait_for(steps.reached.wait(), LATE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, LATE)
    assert steps.stopped == ["step"]
    assert not steps.calls["create_asset"]


@pytest.mark.parametrize(
    ("place", "error", "said"),
    [
        ("enhance_image", AWAY, "the model is away"),
        ("check_image", AWAY, "could not be checked for safety"),
        ("check_image", ValueError("/etc/secret"), "internal error"),
    ],
)
async def test_a_second_attempt_that_fails_leaves_the_first_one(place, error, said):
    steps = ScriptedSteps(overall=0.1, failing={f"{place}:{RUN}": error})
    made, told = await run(steps)
    assert decisions(told) == [(1, REGENERATE), (2, GIVE_UP)]
    last = of(told, Judged)[-1]
    assert said in last.reason
    assert (last.delivered, last.HasField("score")) == (1, False)
    assert index_of(made.assets[0].media) == 0
    assert not made.errors


async def test_a_first_attempt_that_fails_is_not_repeated():
    with pytest.raises(MeshError) as raised:
        await run(ScriptedSteps(overall=0.1, failing={"check_image": AWAY}))
    assert raised.value.name == "SAFETY_UNCHECKED"


async def test_an_unsafe_picture_is_drawn_again_and_never_delivered():
    steps = ScriptedSteps(overall=0.7, refused={0})
    made, told = await run(steps)
    assert decisions(told) == [(1, REGENERATE), (2, ACCEPT)]
    assert "safety check refused" in of(told, Judged)[0].reason
    assert index_of(made.assets[0].media) == RUN
    assert [index_of(each.media) for each in steps.requests if isinstance(each, SealMediaRequest)] == [RUN]


async def test_when_every_attempt_is_unsafe_so_is_the_answer():
    steps = ScriptedSteps(overall=0.7, refused={0, RUN, 2 * RUN})
    told = []
    with pytest.raises(MeshError) as raised:
        await pipeline.run(work(), steps, told.append)
    assert raised.value.name == "OUTPUT_UNSAFE"
    assert len(executions(steps)) == 3
    assert of(told, Judged)[-1].delivered == 0
    assert not of(told, Output)
    assert [outcome.unsafe for outcome in steps.outcomes] == [True] * 3


async def test_without_scores_the_picture_is_delivered_and_the_caller_told_why():
    steps = ScriptedSteps(failing={"score_image": AWAY})
    made, told = await run(steps)
    (judged,) = of(told, Judged)
    assert (judged.decision, judged.reason) == (GIVE_UP, "it could not be scored")
    assert (len(made.assets), steps.calls["score_image"]) == (1, 1)


async def test_a_score_that_nothing_measures_is_no_reason_to_draw_again():
    steps = ScriptedSteps(overall=0.9)
    _, told = await run(steps, work(quality_metric=spec_pb2.QUALITY_METRIC_AESTHETIC))
    assert decisions(told) == [(1, GIVE_UP)]


async def test_the_router_hears_of_every_attempt_under_the_name_of_its_run():
    steps = ScriptedSteps(overalls=[0.5, 0.7])
    await run(steps, work(name="named"))
    first, again = executions(steps)
    told = [(each.request_id, round(each.quality.overall.value, 2)) for each in steps.outcomes]
    assert told == [(first.request_id, 0.5), (again.request_id, 0.7)]
    assert first.generation_id == again.generation_id == "gen-1"


async def test_a_single_run_goes_by_the_generation():
    steps = ScriptedSteps(overalls=[0.9])
    await run(steps, work(name="named"))
    assert [each.request_id for each in steps.outcomes] == ["gen-1"]


async def test_of_two_runs_one_is_not_told_what_was_made_of_the_other_because_that_failed():
    steps = ScriptedSteps(overall=0.1, failing={f"check_image:{RUN}": AWAY})
    await run(steps, work(name="named"))
    assert [each.request_id for each in steps.outcomes] == ["named"]


async def test_a_picture_drawn_at_the_second_attempt_is_of_the_same_work_as_one_drawn_at_once():
    names = []
    for steps, fields in (
        (ScriptedSteps(overalls=[0.1, 0.7]), {"model_preference": HOUSE}),
        (ScriptedSteps(overall=0.7), {"model_preference": HOUSE, "seed": defaults.attempt_seed(7, 2)}),
    ):
        await run(steps, work(**fields))
        names += [each.work for each in steps.requests if isinstance(each, SealMediaRequest)]
    assert names[0] == names[1]


async def test_assets_are_named_by_the_picture_whatever_attempt_it_was():
    steps = ScriptedSteps(overalls=[0.1, 0.7])
    await run(steps)
    (create,) = [each for each in steps.requests if isinstance(each, CreateAssetRequest)]
    assert create.id == "gen-1-0"


async def test_the_events_of_another_attempt_are_told_as_well():
    steps = ScriptedSteps(overalls=[0.1, 0.7])
    _, told = await run(steps)
    assert len(of(told, Routed)) == 2
