"""GenerationService as a caller meets it: over real gRPC, with scripted steps or scripted servers behind it."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc import error_details_pb2

from scrollintel.visual.v1 import errors_pb2, generation_pb2, spec_pb2
from scrollintel.visual.v1.generation_pb2 import (
    CancelGenerationRequest,
    CreateGenerationRequest,
    EstimateGenerationRequest,
    GenerateRequest,
    GenerationSpec,
    GetGenerationRequest,
    ListGenerationsRequest,
    WatchGenerationRequest,
)
from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceStub
from scrollintel.visual.v1.spec_pb2 import ImageSpec, VideoSpec
from services.orchestrator import engine, service
from services.orchestrator.service import spec
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.identity import TENANT_KEY
from services.runtime.server import serve
from tests.contract.scripted_mesh import Everyone, everyone, orchestrating, settings
from tests.unit.orchestrator.scripted import ScriptedSteps, image_request

FAILURE = MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "the model is away", retry_after=2.0)
LATE = 20.0


@asynccontextmanager
async def client(server):
    async with connect(server.address) as channel:
        yield GenerationServiceStub(channel)


@asynccontextmanager
async def meeting(steps, **values):
    async with orchestrating(steps, **values) as server, client(server) as stub:
        yield stub


async def collect(call):
    return [response.event async for response in call]


async def generate(stub, request=None, timeout=LATE):
    return await collect(stub.Generate(request or image_request(), timeout=timeout))


def kinds(events):
    assert [event.sequence for event in events] == list(
        range(events[0].sequence, events[0].sequence + len(events))
    )
    return [event.WhichOneof("event") for event in events]


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (collect(call) if hasattr(call, "__aiter__") else call)
    return MeshError.from_rpc(raised.value, "orchestrator")


def failure(events):
    return MeshError.from_status(events[-1].failed.status)


async def ended(stub, generation_id):
    async with asyncio.timeout(LATE):
        return await collect(stub.WatchGeneration(WatchGenerationRequest(id=generation_id)))


async def first(call):
    async for response in call:
        return response.event
    raise AssertionError("the stream ended at once")


async def test_one_call_in_one_stream_out():
    async with meeting(ScriptedSteps()) as stub:
        request = image_request(num_images=2, seed=5)
        request.previews = True
        events = await generate(stub, request)
        found = kinds(events)
        assert found[:4] == ["queued", "checked", "prompt_enhanced", "checked"]
        assert found[4] == "routed"
        assert found.count("preview") == 4
        assert found.count("output") == found.count("scored") == 2
        assert found[-1] == "completed"
        result = events[-1].completed.result
        assert [asset.seed for asset in result.assets] == [5, 6]
        known = (await stub.GetGeneration(GetGenerationRequest(id=result.id))).generation
        assert (known.state, known.result) == (generation_pb2.GENERATION_STATE_SUCCEEDED, result)
        assert known.spec.image.width == 1024


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": ""}, "spec.image.prompt"),
        ({"prompt": "x" * 20_000}, "spec.image.prompt"),
        ({"prompt": "a\x00b"}, "spec.image.prompt"),
        ({"width": 0}, "spec.image.width"),
        ({"width": 7}, "spec.image.width"),
        ({"width": 100_000}, "spec.image.width"),
        ({"steps": -1}, "spec.image.steps"),
        ({"steps": 10**9}, "spec.image.steps"),
        ({"guidance_scale": float("nan")}, "spec.image.guidance_scale"),
        ({"num_images": 0}, "spec.image.num_images"),
        ({"num_images": 1000}, "spec.image.num_images"),
        ({"aspect_ratio": "9:1"}, "spec.image.aspect_ratio"),
        ({"aspect_ratio": "8:1"}, "spec.image.aspect_ratio"),  # valid by its rule, too thin for its size
        ({"aspect_ratio": "2:1", "height": 2000}, "spec.image.aspect_ratio"),
    ],
)
async def test_bad_input_is_refused_naming_the_field_before_anything_starts(fields, field):
    steps = ScriptedSteps()
    async with meeting(steps) as stub:
        error = await refusal(stub.Generate(image_request(**({"prompt": "a cat"} | fields)), timeout=LATE))
        assert (error.name, error.code, error.field) == (
            "FIELD_INVALID",
            grpc.StatusCode.INVALID_ARGUMENT,
            field,
        )
        assert field in error.message
        assert not steps.calls
        assert not (await stub.ListGenerations(ListGenerationsRequest())).generations


async def test_what_later_versions_serve_is_unimplemented():
    async with meeting(ScriptedSteps()) as stub:
        spec = image_request().spec
        video = GenerateRequest(spec=GenerationSpec(video=VideoSpec(prompt="a walk")))
        calls = [
            stub.Generate(video, timeout=LATE),
            stub.CreateGeneration(CreateGenerationRequest(spec=spec), timeout=LATE),
            stub.EstimateGeneration(EstimateGenerationRequest(spec=video.spec), timeout=LATE),
        ]
        for call in calls:
            error = await refusal(call)
            assert (error.name, error.code) == ("UNIMPLEMENTED", grpc.StatusCode.UNIMPLEMENTED)


async def test_a_client_that_goes_away_stops_the_work():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps) as stub:
        call = stub.Generate(image_request(), timeout=LATE)
        generation_id = (await first(call)).generation_id
        await asyncio.wait_for(steps.reached.wait(), LATE)
        call.cancel()
        events = await ended(stub, generation_id)
        assert failure(events).name == "CANCELLED"
        assert steps.stopped == ["step"]
        known = (await stub.GetGeneration(GetGenerationRequest(id=generation_id))).generation
        assert known.state == generation_pb2.GENERATION_STATE_CANCELLED
        assert MeshError.from_status(known.error).name == "CANCELLED"


async def test_a_client_that_goes_away_without_reading_stops_the_work():
    steps = ScriptedSteps(hanging={"create_asset"}, previews=1)
    async with meeting(steps) as stub:
        request = image_request()
        request.previews = True
        call = stub.Generate(request, timeout=LATE)
        await asyncio.wait_for(steps.reached.wait(), LATE)
        call.cancel()
        await asyncio.wait_for(steps.halted.wait(), LATE)
        (known,) = (await stub.ListGenerations(ListGenerationsRequest())).generations
        assert failure(await ended(stub, known.id)).name == "CANCELLED"


async def test_a_deadline_stops_the_work_and_the_caller_hears_of_it(monkeypatch):
    monkeypatch.setattr(engine, "LEAVE_MARGIN_SECONDS", 1.5)  # what the event has to arrive in
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps) as stub:
        events = await generate(stub, timeout=3)
        assert failure(events).name == "DEADLINE_EXCEEDED"
        assert steps.stopped == ["step"]


async def test_cancel_generation_ends_the_stream_with_its_event():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps) as stub:
        call = stub.Generate(image_request(), timeout=LATE)
        generation_id = (await first(call)).generation_id
        await asyncio.wait_for(steps.reached.wait(), LATE)
        taken = await stub.CancelGeneration(CancelGenerationRequest(id=generation_id))
        assert taken.generation.state == generation_pb2.GENERATION_STATE_RUNNING
        events = await collect(call)
        assert failure(events).message == "cancelled on request"
        again = await stub.CancelGeneration(CancelGenerationRequest(id=generation_id))
        assert again.generation.state == generation_pb2.GENERATION_STATE_CANCELLED


async def test_the_same_request_joins_and_then_replays_and_nothing_is_drawn_twice():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps) as stub:
        request = image_request(request_id="r-1")
        calls = [asyncio.create_task(generate(stub, request)) for _ in range(3)]
        await asyncio.wait_for(steps.reached.wait(), LATE)
        await asyncio.sleep(0.05)
        steps.release.set()
        joined = await asyncio.gather(*calls)
        replayed = await generate(stub, request)
        assert kinds(joined[0])[-1] == "completed"
        assert joined[0] == joined[1] == joined[2] == replayed
        assert steps.calls["routed"] == 1


async def test_another_spec_under_the_same_request_id_is_refused():
    async with meeting(ScriptedSteps()) as stub:
        await generate(stub, image_request(request_id="r-1"))
        error = await refusal(stub.Generate(image_request("a dog", request_id="r-1"), timeout=LATE))
        assert (error.name, error.code) == ("REQUEST_ID_REUSED", grpc.StatusCode.ALREADY_EXISTS)


async def test_an_abandoned_request_can_be_sent_again():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps) as stub:
        request = image_request(request_id="r-1")
        call = stub.Generate(request, timeout=LATE)
        abandoned = (await first(call)).generation_id
        call.cancel()
        await ended(stub, abandoned)
        steps.release.set()
        events = await generate(stub, request)
        assert kinds(events)[-1] == "completed"
        assert events[0].generation_id != abandoned


async def test_a_hundred_at_once_complete_or_are_refused_and_none_hangs():
    steps = ScriptedSteps()
    async with meeting(steps, running=2, waiting=64) as stub:

        async def one():
            try:
                return kinds(await generate(stub, timeout=30))[-1]
            except grpc.aio.AioRpcError as error:
                return MeshError.from_rpc(error, "orchestrator")

        outcomes = await asyncio.wait_for(asyncio.gather(*(one() for _ in range(100))), 40)
        refused = [outcome for outcome in outcomes if isinstance(outcome, MeshError)]
        assert outcomes.count("completed") == 100 - len(refused)
        assert outcomes.count("completed") >= 66
        assert {error.name for error in refused} <= {"OVERLOADED"}
        assert all(error.retry_after > 0 and error.queue_position > 64 for error in refused)


async def test_when_full_a_call_is_refused_before_any_event_and_not_remembered():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps, running=1, waiting=1) as stub:
        running = asyncio.create_task(generate(stub))
        await asyncio.wait_for(steps.reached.wait(), LATE)
        waiting = stub.Generate(image_request(), timeout=LATE)
        assert (await first(waiting)).queued.position == 1
        error = await refusal(stub.Generate(image_request(request_id="r"), timeout=LATE))
        assert (error.code, error.queue_position) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 2)
        assert error.retry_after > 0
        assert error.estimated_wait > 0
        assert len((await stub.ListGenerations(ListGenerationsRequest())).generations) == 2
        steps.release.set()
        assert kinds(await running)[-1] == "completed"
        assert kinds(await collect(waiting))[-1] == "completed"
        assert kinds(await generate(stub, image_request(request_id="r")))[-1] == "completed"


async def test_partial_failure_is_told_as_such():
    async with meeting(ScriptedSteps(failing={"enhance_image:2": FAILURE})) as stub:
        result = (await generate(stub, image_request(num_images=4)))[-1].completed.result
        assert [asset.id.rpartition("-")[2] for asset in result.assets] == ["0", "1", "3"]
        (error,) = map(MeshError.from_status, result.errors)
        assert (error.name, error.retry_after) == ("MODEL_UNAVAILABLE", 2.0)


async def test_watching_resumes_after_a_number_and_does_not_cancel():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps) as stub:
        generating = asyncio.create_task(generate(stub))
        await asyncio.wait_for(steps.reached.wait(), LATE)
        (known,) = (await stub.ListGenerations(ListGenerationsRequest())).generations
        watching = stub.WatchGeneration(WatchGenerationRequest(id=known.id))
        await first(watching)
        watching.cancel()
        await asyncio.sleep(0.05)
        assert not steps.stopped
        steps.release.set()
        events = await generating
        rest = await collect(stub.WatchGeneration(WatchGenerationRequest(id=known.id, after_sequence=3)))
        assert rest == events[3:]


async def test_a_reader_that_stops_reading_holds_nobody_up():
    steps = ScriptedSteps(hanging={"create_asset"}, previews=1)
    async with meeting(steps) as stub:
        slow = stub.Generate(image_request(request_id="r"), timeout=30)
        await first(slow)
        fast = asyncio.create_task(generate(stub, image_request(request_id="r")))
        await asyncio.wait_for(steps.reached.wait(), LATE)
        steps.release.set()
        assert kinds(await asyncio.wait_for(fast, LATE))[-1] == "completed"
        assert kinds(await collect(slow))[-1] == "completed"


async def test_lists_are_pages_newest_first():
    async with meeting(ScriptedSteps()) as stub:
        ids = [(await generate(stub))[0].generation_id for _ in range(5)]
        listed, token = [], ""
        while True:
            page = await stub.ListGenerations(ListGenerationsRequest(page_size=2, page_token=token))
            listed += [generation.id for generation in page.generations]
            token = page.next_page_token
            if not token:
                break
        assert listed == ids[::-1]
        error = await refusal(stub.ListGenerations(ListGenerationsRequest(page_token="x")))
        assert (error.name, error.field) == ("FIELD_INVALID", "page_token")


@pytest.mark.parametrize("rpc", ["GetGeneration", "WatchGeneration", "CancelGeneration"])
async def test_what_is_unknown_or_anothers_is_not_found(rpc):
    async with meeting(ScriptedSteps()) as stub:
        kind = getattr(generation_pb2, f"{rpc}Request")
        theirs = (await collect(stub.Generate(image_request(), metadata=[(TENANT_KEY, "acme")])))[
            0
        ].generation_id
        for generation_id in ("gen-unknown", theirs):
            error = await refusal(getattr(stub, rpc)(kind(id=generation_id), timeout=LATE))
            assert (error.name, error.code) == ("NOT_FOUND", grpc.StatusCode.NOT_FOUND)


async def test_a_drain_ends_what_runs_with_an_event(monkeypatch):
    monkeypatch.setattr(service, "TELL_SECONDS", 3.0)  # what the event has to arrive in
    steps = ScriptedSteps(hanging={"step"})
    async with orchestrating(steps, grace_seconds=3.5) as server, client(server) as stub:
        generating = asyncio.create_task(generate(stub, timeout=30))
        await asyncio.wait_for(steps.reached.wait(), LATE)
        await server.drain()
        error = failure(await generating)
        assert (error.name, error.retry_after) == ("DEPENDENCY_UNAVAILABLE", 1.0)
        assert steps.stopped == ["step"]


async def test_a_drain_lets_a_generation_finish():
    steps = ScriptedSteps(hanging={"step"})
    async with orchestrating(steps, grace_seconds=5.0) as server, client(server) as stub:
        generating = asyncio.create_task(generate(stub, timeout=30))
        await asyncio.wait_for(steps.reached.wait(), LATE)
        draining = asyncio.create_task(server.drain())
        await asyncio.sleep(0.05)
        steps.release.set()
        assert kinds(await generating)[-1] == "completed"
        await asyncio.wait_for(draining, LATE)


# With real channels to servers behind it: what `calls` does with their answers.


@asynccontextmanager
async def behind(steps, **values):
    servicer = Everyone(steps)
    async with everyone(servicer) as others:
        given = settings(others.address, grace_seconds=0, **values)
        async with serve(spec(given)) as server, client(server) as stub:
            yield stub, servicer, others


async def test_over_the_wire_the_steps_are_the_servers():
    async with behind(ScriptedSteps()) as (stub, servicer, _):
        events = await collect(
            stub.Generate(image_request(num_images=3), timeout=LATE, metadata=[(TENANT_KEY, "acme")])
        )
        assert kinds(events)[-1] == "completed"
        assert len(events[-1].completed.result.assets) == 3
        assert servicer.tenants == {"acme"}  # identity reaches every hop
        assert events[-1].completed.result.model_used == "text_to_image_house"


async def test_over_the_wire_an_enhancement_runs():
    request = GenerateRequest(
        spec=GenerationSpec(
            enhancement=spec_pb2.EnhancementSpec(
                source={"uri": f"blob:{'0' * 64}", "sha256": "0" * 64},
                operations=[{"upscale": {"size": {"width": 300, "height": 200}}}],
            )
        )
    )
    async with behind(ScriptedSteps()) as (stub, _, _others):
        events = await generate(stub, request)
        assert events[-1].completed.result.assets[0].media.width == 300


async def test_errors_keep_their_details_across_two_hops():
    async with behind(ScriptedSteps(failing={"routed": FAILURE})) as (stub, _, _others):
        error = failure(await generate(stub))
        assert (error.name, error.message, error.retry_after) == (
            "MODEL_UNAVAILABLE",
            "the model is away",
            2.0,
        )


async def test_a_bug_behind_is_internal_and_says_nothing_of_it():
    async with behind(ScriptedSteps(failing={"step": ValueError("/etc/secret")})) as (stub, _, _others):
        events = await generate(stub)
        assert failure(events).name == "INTERNAL"
        assert "secret" not in str(events)


@pytest.mark.parametrize("place", ["enhance_prompt", "step", "enhance_image", "check_image", "create_asset"])
async def test_cancelling_reaches_the_server_that_works(place):
    steps = ScriptedSteps(hanging={place})
    async with behind(steps) as (stub, _, _others):
        call = stub.Generate(image_request(), timeout=LATE)
        await first(call)
        await asyncio.wait_for(steps.reached.wait(), LATE)
        call.cancel()
        await asyncio.wait_for(steps.halted.wait(), LATE)
        assert steps.stopped == [place]


@pytest.mark.parametrize(
    ("place", "limit", "reason"),
    [
        ("check_prompt", "check_seconds", "SAFETY_UNCHECKED"),
        ("enhance_prompt", "prompt_seconds", "DEPENDENCY_UNAVAILABLE"),
        ("enhance_image", "enhance_seconds", "DEPENDENCY_UNAVAILABLE"),
        ("check_image", "check_seconds", "SAFETY_UNCHECKED"),
        ("create_asset", "store_seconds", "DEPENDENCY_UNAVAILABLE"),
    ],
)
async def test_a_late_server_is_its_own_fault_and_not_the_callers_deadline(place, limit, reason):
    async with behind(ScriptedSteps(hanging={place}), **{limit: 0.2}) as (stub, _, _others):
        error = failure(await generate(stub))
        assert (error.name, error.retry_after) == (reason, 1.0)


async def test_a_late_score_is_left_out():
    async with behind(ScriptedSteps(hanging={"score_image"}), score_seconds=0.2) as (stub, _, _others):
        result = (await generate(stub))[-1].completed.result
        assert [field.name for field, _ in result.assets[0].quality.ListFields()] == ["safety"]


async def test_without_a_safety_server_nothing_is_drawn():
    async with serve(spec(settings(grace_seconds=0))) as server, client(server) as stub:
        events = await generate(stub)
        error = failure(events)
        assert (error.name, kinds(events)) == ("SAFETY_UNCHECKED", ["queued", "failed"])


async def test_a_refusal_is_a_bad_request_on_the_wire():
    async with meeting(ScriptedSteps()) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await generate(
                stub, GenerateRequest(spec=GenerationSpec(image=ImageSpec(prompt="a", aspect_ratio="8:1")))
            )
        status = MeshError.from_rpc(raised.value, "orchestrator").status()
        (bad,) = [each for each in status.details if each.Is(error_details_pb2.BadRequest.DESCRIPTOR)]
        request = error_details_pb2.BadRequest()
        bad.Unpack(request)
        assert request.field_violations[0].field == "spec.image.aspect_ratio"
