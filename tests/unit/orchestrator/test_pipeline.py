import asyncio
import contextlib

import pytest
from google.protobuf.message import Message

from scrollintel.visual.v1 import errors_pb2, events_pb2, safety_finding_pb2, spec_pb2
from scrollintel.visual.v1.assets_pb2 import CreateAssetRequest
from scrollintel.visual.v1.events_pb2 import Candidate, Fallback, Output, PromptEnhanced, Routed
from scrollintel.visual.v1.generation_pb2 import GenerationSpec
from scrollintel.visual.v1.router_pb2 import ExecuteRequest, ExecuteResponse
from scrollintel.visual.v1.safety_pb2 import SealMediaRequest
from scrollintel.visual.v1.spec_pb2 import EnhancementOperation, EnhancementSpec, PixelSize, Upscale
from services.orchestrator import defaults, pipeline, seals
from services.orchestrator.delivery import DELIVERED_AT_ONCE
from services.orchestrator.log import FIELD_OF
from services.orchestrator.pipeline import Work
from services.runtime.errors import MeshError
from tests.unit.orchestrator.scripted import DRAW_STEPS, PLACES, ScriptedSteps, image_request, media

LATE = 20.0  # seconds: what has not come by then does not come

FAILURE = MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "the model is away", retry_after=2.0)
BEFORE_PICTURES = ("check_prompt", "enhance_prompt", "recheck_prompt", "routed", "step", "output")
FATAL_TO_A_PICTURE = ("enhance_image", "check_image", "seal_media", "create_asset")
TOLD_AS = {"check_image": "SAFETY_UNCHECKED", "seal_media": "DEPENDENCY_UNAVAILABLE"}
CHECKS = ("check_prompt", "recheck_prompt", "check_image")


def work(previews=False, **fields):
    filled = defaults.fill(image_request(**fields).spec, seed=lambda: 7)
    return Work("gen-1", filled, spec_pb2.OBJECTIVE_LATENCY, previews)


async def run(steps, asked=None):
    told: list[Message] = []
    made = await pipeline.run(asked or work(), steps, told.append)
    return made, told


def kinds(told):
    return [FIELD_OF[each.DESCRIPTOR.full_name] for each in told]


def of(told, kind):
    return [each for each in told if isinstance(each, kind)]


async def test_the_whole_life_of_one_picture():
    steps = ScriptedSteps()
    made, told = await run(steps, work(previews=True))
    assert kinds(told) == [
        "checked", "prompt_enhanced", "checked", "routed",
        *["step", "preview"] * DRAW_STEPS,
        "step", "step", "output", "scored", "step", "step",
    ]  # fmt: skip
    assert [each.stage for each in of(told, events_pb2.Step)[DRAW_STEPS:]] == [
        events_pb2.STAGE_UPSCALE,
        events_pb2.STAGE_CHECK,
        events_pb2.STAGE_SCORE,
        events_pb2.STAGE_STORE,
    ]
    (asset,) = made.assets
    assert asset.id == "gen-1-0"
    assert (asset.media.width, asset.media.height) == (1024, 1024)
    assert asset.quality.safety.measured_by == "open_nsfw/1"
    assert (asset.seed, made.model, list(made.errors)) == (7, "text_to_image_house", [])
    assert dict(asset.metadata) == {
        "prompt": "a smiling cat",
        "enhanced_prompt": "a smiling cat, watercolor",
        "model": "text_to_image_house",
        "backend": "triton/text_to_image_house",
        "seed": "7",
        "steps": str(DRAW_STEPS),
        "size": "1024x1024",
        "watermark": "0000002a",
    }


async def test_what_each_server_is_asked():
    steps = ScriptedSteps()
    await run(steps, work(quality=spec_pb2.QUALITY_TIER_HIGH, negative_prompt="blur", width=640, height=480))
    execute, upscale, prompt, seal, create = steps.requests
    assert isinstance(execute, ExecuteRequest)
    assert (execute.request_id, execute.objective) == ("gen-1", spec_pb2.OBJECTIVE_LATENCY)
    assert (execute.image.prompt, execute.image.seed) == ("a smiling cat, watercolor", 7)
    assert execute.image.negative_prompt == "blur"
    assert upscale == EnhancementSpec(
        source=media(0),
        operations=[
            EnhancementOperation(
                upscale=Upscale(size=PixelSize(width=640, height=480), variant="x4plus-anime")
            )
        ],
    )
    assert prompt == "a smiling cat"  # scored against the caller's own words
    assert isinstance(seal, SealMediaRequest)
    assert (seal.generation_id, seal.model, seal.media.width) == ("gen-1", "text_to_image_house", 640)
    assert not seal.HasField("source")
    assert seal.description["prompt"] == "a smiling cat"
    assert "backend" not in seal.description
    assert isinstance(create, CreateAssetRequest)
    assert create.media.width == 640


async def test_a_prompt_that_stays_is_not_checked_twice():
    steps = ScriptedSteps(suffix="")
    _, told = await run(steps)
    assert kinds(told)[:2] == ["checked", "routed"]
    assert steps.calls["check_prompt"] == 1
    assert not of(told, PromptEnhanced)


async def test_a_picture_of_the_right_size_is_not_enlarged():
    steps = ScriptedSteps(model_size=(512, 512))
    made, _ = await run(steps, work(width=512, height=512))
    assert steps.calls["enhance_image"] == 0
    assert made.assets[0].media.width == 512


@pytest.mark.parametrize("place", BEFORE_PICTURES)
async def test_a_failure_before_the_first_picture_ends_the_generation(place):
    with pytest.raises(MeshError) as raised:
        await run(ScriptedSteps(failing={place: FAILURE}), work(num_images=2))
    assert raised.value.name == ("SAFETY_UNCHECKED" if place in CHECKS else "MODEL_UNAVAILABLE")


@pytest.mark.parametrize("place", FATAL_TO_A_PICTURE)
async def test_a_failure_of_one_picture_leaves_the_others(place):
    steps = ScriptedSteps(failing={f"{place}:1": FAILURE})
    made, told = await run(steps, work(num_images=4))
    assert [asset.id for asset in made.assets] == ["gen-1-0", "gen-1-2", "gen-1-3"]
    assert [asset.seed for asset in made.assets] == [7, 9, 10]
    assert [error.name for error in made.errors] == [TOLD_AS.get(place, "MODEL_UNAVAILABLE")]
    told_of = {each.index for each in of(told, Output)}
    assert told_of == ({0, 1, 2, 3} if place == "create_asset" else {0, 2, 3})


@pytest.mark.parametrize("place", FATAL_TO_A_PICTURE)
async def test_when_every_picture_fails_so_does_the_generation(place):
    with pytest.raises(MeshError) as raised:
        await run(ScriptedSteps(failing={place: FAILURE}), work(num_images=3))
    assert raised.value.name == TOLD_AS.get(place, "MODEL_UNAVAILABLE")


@pytest.mark.parametrize("place", FATAL_TO_A_PICTURE)
async def test_a_bug_in_one_picture_is_told_as_internal_without_its_words(place):
    steps = ScriptedSteps(failing={f"{place}:0": ValueError("/etc/secret")})
    made, _ = await run(steps, work(num_images=2))
    assert [error.name for error in made.errors] == ["INTERNAL"]
    assert "secret" not in made.errors[0].message


async def test_a_picture_that_cannot_be_scored_is_delivered_without_scores():
    made, told = await run(ScriptedSteps(failing={"score_image": FAILURE}))
    quality = made.assets[0].quality
    assert [field.name for field, _ in quality.ListFields()] == ["safety"]
    assert "scored" in kinds(told)


@pytest.mark.parametrize("action", ["BLOCK", "REDACT", "UNSPECIFIED"])
async def test_an_unsafe_picture_is_neither_told_nor_stored(action):
    steps = ScriptedSteps(image_action=safety_finding_pb2.SafetyAction.Value(f"SAFETY_ACTION_{action}"))
    told: list[Message] = []
    with pytest.raises(MeshError) as raised:
        await pipeline.run(work(), steps, told.append)
    assert raised.value.name == ("SAFETY_UNCHECKED" if action == "UNSPECIFIED" else "OUTPUT_UNSAFE")
    assert not of(told, Output)
    assert not of(told, events_pb2.Scored)
    assert steps.calls["create_asset"] == 0


async def test_an_unsafe_picture_is_not_scored_to_the_end():
    steps = ScriptedSteps(image_action=safety_finding_pb2.SAFETY_ACTION_BLOCK, hanging={"score_image"})
    with pytest.raises(MeshError):
        await asyncio.wait_for(run(steps), LATE)
    assert steps.stopped == ["score_image"]


async def test_scoring_does_not_wait_for_the_check():
    steps = ScriptedSteps(hanging={"check_image"})
    task = asyncio.create_task(run(steps))
    await asyncio.wait_for(steps.reached.wait(), LATE)
    await asyncio.sleep(0.01)
    assert steps.calls["score_image"] == 1
    steps.release.set()
    await asyncio.wait_for(task, LATE)


async def test_an_unsafe_prompt_is_not_drawn():
    steps = ScriptedSteps(action=safety_finding_pb2.SAFETY_ACTION_BLOCK)
    with pytest.raises(MeshError) as raised:
        await run(steps)
    assert (raised.value.name, raised.value.findings[0].severity) == ("PROMPT_UNSAFE", 6)
    assert list(steps.calls) == ["check_prompt"]


async def test_findings_that_are_let_through_are_told():
    _, told = await run(ScriptedSteps(action=safety_finding_pb2.SAFETY_ACTION_FLAG))
    assert [len(each.findings) for each in of(told, events_pb2.Checked)] == [1, 1]


async def test_pictures_drawn_before_the_backend_failed_are_delivered():
    made, _ = await run(ScriptedSteps(failing={"output:2": FAILURE}), work(num_images=4))
    assert [asset.id for asset in made.assets] == ["gen-1-0", "gen-1-1"]
    assert [error.name for error in made.errors] == ["MODEL_UNAVAILABLE"] * 2


@pytest.mark.parametrize("drawn", [0, 1])
async def test_a_backend_that_draws_too_few_is_found_out(drawn):
    steps = ScriptedSteps(drawn=drawn)
    if drawn == 0:
        with pytest.raises(MeshError, match="fewer pictures"):
            await run(steps, work(num_images=3))
        return
    made, _ = await run(steps, work(num_images=3))
    assert (len(made.assets), [error.name for error in made.errors]) == (1, ["MODEL_FAILED"] * 2)


async def test_a_backend_that_draws_too_many_changes_nothing():
    made, _ = await run(ScriptedSteps(drawn=5), work(num_images=2))
    assert [asset.id for asset in made.assets] == ["gen-1-0", "gen-1-1"]


async def test_only_two_pictures_are_delivered_at_once():
    steps = ScriptedSteps(hanging={"enhance_image"})
    task = asyncio.create_task(run(steps, work(num_images=8)))
    await asyncio.wait_for(steps.reached.wait(), LATE)
    await asyncio.sleep(0.02)
    assert steps.delivering == DELIVERED_AT_ONCE
    steps.release.set()
    made, told = await asyncio.wait_for(task, LATE)
    assert steps.most_delivering == DELIVERED_AT_ONCE
    assert [asset.id for asset in made.assets] == [f"gen-1-{index}" for index in range(8)]
    stored = [each for each in of(told, events_pb2.Step) if each.stage == events_pb2.STAGE_STORE]
    assert [(each.k, each.n) for each in stored] == [(k, 8) for k in range(1, 9)]


@pytest.mark.parametrize("place", PLACES)
async def test_cancelling_stops_the_step_that_runs_and_starts_no_other(place):
    steps = ScriptedSteps(hanging={place})
    task = asyncio.create_task(run(steps, work(num_images=2)))
    await asyncio.wait_for(steps.reached.wait(), LATE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, LATE)
    assert steps.stopped
    assert set(steps.stopped) == {place}
    calls = dict(steps.calls)
    await asyncio.sleep(0.01)
    assert dict(steps.calls) == calls


class FallingBack(ScriptedSteps):
    async def execute(self, request):
        house = Candidate(backend="triton/text_to_image_house", model="text_to_image_house")
        spare = Candidate(backend="cloud/spare", model="spare-xl", predicted_cost_usd=0.04)
        yield ExecuteResponse(routed=Routed(chosen=house, runners_up=[spare]))
        yield ExecuteResponse(
            fallback=Fallback(**{"from": house.backend, "to": spare.backend, "reason": "away"})
        )
        yield ExecuteResponse(output=Output(index=0, media=media(0), seed=7))


async def test_after_a_fallback_the_model_is_the_one_that_drew():
    made, told = await run(FallingBack())
    assert (made.model, made.cost_usd) == ("spare-xl", 0.04)
    assert made.assets[0].metadata["backend"] == "cloud/spare"
    assert "fallback" in kinds(told)


def enhancement():
    size = PixelSize(width=300, height=200)
    spec = EnhancementSpec(source=media(0), operations=[EnhancementOperation(upscale=Upscale(size=size))])
    return Work("gen-2", GenerationSpec(enhancement=spec))


async def test_an_enhancement_is_checked_scored_and_stored():
    made, told = await run(ScriptedSteps(), enhancement())
    assert kinds(told) == ["step", "step", "output", "scored", "step", "step"]
    asset = made.assets[0]
    assert (asset.id, asset.media.width) == ("gen-2-0", 300)
    assert dict(asset.metadata) == {
        "source": media(0).uri,
        "operations": "upscale",
        "watermark": "0000002a",
    }
    assert not asset.HasField("seed")


@pytest.mark.parametrize("place", FATAL_TO_A_PICTURE)
async def test_an_enhancement_fails_as_a_whole(place):
    with pytest.raises(MeshError):
        await run(ScriptedSteps(failing={place: FAILURE}), enhancement())


async def test_a_picture_that_cannot_be_sealed_is_neither_told_nor_stored():
    steps = ScriptedSteps(failing={"seal_media": MeshError(errors_pb2.ERROR_REASON_INTERNAL, "/etc/secret")})
    told: list[Message] = []
    with pytest.raises(MeshError) as raised:
        await pipeline.run(work(), steps, told.append)
    assert (raised.value.name, raised.value.retry_after) == ("DEPENDENCY_UNAVAILABLE", 1.0)
    assert "secret" not in raised.value.message
    assert not of(told, Output)
    assert not steps.calls["create_asset"]


async def test_pictures_drawn_alike_are_of_one_work_wherever_they_were_drawn():
    names = []
    for fields in ({}, {}, {"seed": 8}):
        steps = ScriptedSteps()
        await run(steps, work(**fields))
        names += [each.work for each in steps.requests if isinstance(each, SealMediaRequest)]
    assert names[0] == names[1] != names[2]
    told = {"model": "m", "seed": "7"}
    assert seals.work_of(told | {"backend": "a"}) == seals.work_of(told | {"backend": "b"})


async def test_a_restored_picture_is_sealed_with_its_source():
    steps = ScriptedSteps()
    await run(steps, enhancement())
    (seal,) = [each for each in steps.requests if isinstance(each, SealMediaRequest)]
    assert seal.source == media(0)
    assert (seal.model, seal.description["operations"]) == ("", "upscale")


async def test_video_is_not_served():
    spec = GenerationSpec(video=spec_pb2.VideoSpec(prompt="a walk"))
    with pytest.raises(MeshError) as raised:
        await run(ScriptedSteps(), Work("gen-3", spec))
    assert raised.value.name == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("place", "field", "told"),
    [
        ("enhance_prompt", "style", "spec.image.style"),
        ("routed", "image.model_preference", "spec.image.model_preference"),
        ("routed", "", ""),
    ],
)
async def test_fields_are_named_as_the_caller_knows_them(place, field, told):
    text = f"{field}: is not known" if field else "is not known"
    error = MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, text, field=field)
    with pytest.raises(MeshError) as raised:
        await run(ScriptedSteps(failing={place: error}))
    assert (raised.value.field, raised.value.message) == (told, f"{told}: is not known" if told else text)


async def test_fields_of_an_enhancement_are_named_as_the_caller_knows_them():
    error = MeshError(
        errors_pb2.ERROR_REASON_FIELD_INVALID, "x", violations=[("spec.operations[0].upscale", "too large")]
    )
    with pytest.raises(MeshError) as raised:
        await run(ScriptedSteps(failing={"enhance_image": error}), enhancement())
    assert raised.value.violations == [("spec.enhancement.operations[0].upscale", "too large")]


async def test_the_router_hears_of_no_picture_before_its_run_has_ended():
    class Slow(ScriptedSteps):
        ended = False

        async def execute(self, request):
            async for event in super().execute(request):
                yield event
                await asyncio.sleep(0.01)  # time enough for the pictures that came to be delivered
            self.ended = True

        def report_outcome(self, request):
            assert self.ended
            super().report_outcome(request)

    steps = Slow(overall=0.8)
    await run(steps, work(num_images=4))
    assert len(steps.outcomes) == 4


async def test_the_router_hears_how_each_picture_was_scored():
    steps = ScriptedSteps(overall=0.8)
    await run(steps, work(num_images=3))
    assert [outcome.request_id for outcome in steps.outcomes] == ["gen-1"] * 3
    assert all(outcome.quality.overall.value == pytest.approx(0.8) for outcome in steps.outcomes)
    assert not any(outcome.HasField("unsafe") for outcome in steps.outcomes)


async def test_the_router_hears_of_a_picture_that_was_refused():
    steps = ScriptedSteps(overall=0.8, image_action=safety_finding_pb2.SAFETY_ACTION_BLOCK)
    with pytest.raises(MeshError):
        await run(steps)
    (outcome,) = steps.outcomes
    assert (outcome.request_id, outcome.unsafe, outcome.HasField("quality")) == ("gen-1", True, False)


@pytest.mark.parametrize("steps", [ScriptedSteps(), ScriptedSteps(failing={"check_image": FAILURE})])
async def test_nothing_measured_or_unchecked_teaches_the_router_nothing(steps):
    with contextlib.suppress(MeshError):
        await run(steps)
    assert not steps.outcomes


async def test_the_cost_is_that_of_the_backend_that_went_on():
    class FallingBack(ScriptedSteps):
        async def execute(self, request):
            first = Candidate(backend="openai/a", model="a", predicted_cost_usd=0.04)
            spare = Candidate(backend="openai/b", model="b", predicted_cost_usd=0.19)
            yield ExecuteResponse(routed=Routed(chosen=first, runners_up=[spare]))
            yield ExecuteResponse(
                fallback=Fallback(to="openai/b", reason="it failed", **{"from": "openai/a"})
            )
            yield ExecuteResponse(output=Output(index=0, media=media(0), seed=7))

    made, _ = await run(FallingBack())
    assert (made.model, made.cost_usd) == ("b", pytest.approx(0.19))


async def test_a_source_picture_is_judged_before_anything_is_drawn_and_goes_on_to_the_router():
    steps = ScriptedSteps()
    asked = work(source_image=media(5))
    await run(steps, asked)
    assert steps.calls["check_image"] == 2
    assert steps.requests[0].image.source_image == media(5)
    refusing = ScriptedSteps(image_action=safety_finding_pb2.SAFETY_ACTION_BLOCK)
    with pytest.raises(MeshError) as raised:
        await run(refusing, asked)
    assert raised.value.name == "PROMPT_UNSAFE"
    assert "the source picture" in raised.value.message
    assert not refusing.calls["routed"]
    assert not refusing.outcomes, "no backend made it"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (errors_pb2.ERROR_REASON_NOT_FOUND, "FIELD_INVALID"),
        (errors_pb2.ERROR_REASON_MEDIA_INVALID, "MEDIA_INVALID"),
    ],
)
async def test_a_source_picture_that_is_none_is_named_by_its_field(reason, told):
    steps = ScriptedSteps(failing={"check_image": MeshError(reason, "no stored media", field="media")})
    with pytest.raises(MeshError) as raised:
        await run(steps, work(source_image=media(5)))
    assert (raised.value.name, raised.value.field) == (told, "spec.image.source_image")
    assert raised.value.message.startswith("spec.image.source_image: ")
    assert not steps.calls["routed"]


async def test_a_source_picture_that_cannot_be_judged_is_no_pass():
    away = MeshError(errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE, "away", retry_after=3.0)
    with pytest.raises(MeshError) as raised:
        await run(ScriptedSteps(failing={"check_image": away}), work(source_image=media(5)))
    assert (raised.value.name, raised.value.retry_after) == ("SAFETY_UNCHECKED", 3.0)
