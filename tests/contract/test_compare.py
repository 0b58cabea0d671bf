"""CompareModels as a caller meets it: several models over one stream, each a generation of its own."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from scrollintel.visual.v1 import errors_pb2, generation_pb2, router_pb2, spec_pb2
from scrollintel.visual.v1.generation_pb2 import (
    CompareModelsRequest,
    GetGenerationRequest,
    ListGenerationsRequest,
    WatchGenerationRequest,
)
from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceStub
from services.orchestrator import reports
from services.orchestrator.service import spec
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.server import serve
from tests.contract.scripted_mesh import Everyone, everyone, orchestrating, settings
from tests.unit.orchestrator.scripted import ScriptedSteps, image_request

LATE = 20.0
MODELS = ["house", "sdxl", "dalle"]


def comparison(models=MODELS, request_id="", **fields):
    return CompareModelsRequest(request_id=request_id, spec=image_request(**fields).spec, models=models)


@asynccontextmanager
async def meeting(steps, **values):
    async with orchestrating(steps, **values) as server, connect(server.address) as channel:
        yield GenerationServiceStub(channel)


async def compare(stub, request=None):
    """Return each model's events, sound as those of any generation."""
    found = {}
    async for response in stub.CompareModels(request or comparison(), timeout=LATE):
        found.setdefault(response.model, []).append(response.event)
    for events in found.values():
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert len({event.generation_id for event in events}) == 1
        assert events[-1].WhichOneof("event") in ("completed", "failed")
    return found


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in call:
            pass
    return MeshError.from_rpc(raised.value, "orchestrator")


async def listed(stub):
    return (await stub.ListGenerations(ListGenerationsRequest())).generations


def results(found):
    return {model: events[-1].completed.result for model, events in found.items()}


async def test_every_model_draws_the_same_with_the_same_seed_as_a_generation_of_its_own():
    steps = ScriptedSteps()
    async with meeting(steps) as stub:
        made = results(await compare(stub))
        assert sorted(made) == sorted(MODELS)
        assert {model: result.model_used for model, result in made.items()} == {m: m for m in MODELS}
        assert len({result.assets[0].seed for result in made.values()}) == 1
        assert len({result.id for result in made.values()}) == 3
        known = await stub.GetGeneration(GetGenerationRequest(id=made["sdxl"].id))
        assert known.generation.spec.image.model_preference == "sdxl"


async def test_one_models_failure_is_its_own():
    async with meeting(ScriptedSteps(unknown=frozenset({"sdxl"}))) as stub:
        found = await compare(stub)
        ends = {model: events[-1].WhichOneof("event") for model, events in found.items()}
        assert ends == {"house": "completed", "sdxl": "failed", "dalle": "completed"}
        assert MeshError.from_status(found["sdxl"][-1].failed.status).name == "MODEL_UNKNOWN"


async def test_models_run_side_by_side_and_tell_as_they_go():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps) as stub:
        call = stub.CompareModels(comparison(), timeout=LATE)
        routed = set()
        while routed != set(MODELS):
            response = await call.read()
            if response.event.WhichOneof("event") == "routed":
                routed.add(response.model)
        steps.release.set()
        ends = [r.model async for r in call if r.event.WhichOneof("event") == "completed"]
        assert sorted(ends) == sorted(MODELS)


async def test_closing_the_stream_stops_all_of_them():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps) as stub:
        call = stub.CompareModels(comparison(), timeout=LATE)
        async with asyncio.timeout(LATE):
            while steps.calls["step"] < 3:
                await asyncio.sleep(0.01)
        call.cancel()
        for generation in await listed(stub):
            async with asyncio.timeout(LATE):
                async for response in stub.WatchGeneration(WatchGenerationRequest(id=generation.id)):
                    last = response.event
            assert MeshError.from_status(last.failed.status).name == "CANCELLED"
        assert steps.stopped == ["step"] * 3


async def test_the_same_comparison_joins_and_then_replays_and_nothing_is_drawn_twice():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps) as stub:
        calls = [asyncio.create_task(compare(stub, comparison(request_id="c"))) for _ in range(2)]
        await asyncio.wait_for(steps.reached.wait(), LATE)
        await asyncio.sleep(0.05)
        steps.release.set()
        first, second = await asyncio.gather(*calls)
        assert first == second == await compare(stub, comparison(request_id="c"))
        assert steps.calls["routed"] == 3
        names = {
            request.request_id for request in steps.requests if isinstance(request, router_pb2.ExecuteRequest)
        }
        assert len(names) == 3


@pytest.mark.parametrize("models", [["house", "other"], ["other", "sdxl"], ["x", "y"]])
async def test_a_name_is_good_for_one_comparison(models):
    async with meeting(ScriptedSteps()) as stub:
        await compare(stub, comparison(request_id="c"))
        error = await refusal(stub.CompareModels(comparison(models, "c"), timeout=LATE))
        assert error.name == "REQUEST_ID_REUSED"
        error = await refusal(stub.Generate(image_request(request_id="c"), timeout=LATE))
        assert error.name == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (comparison(["house"]), "FIELD_INVALID", "models"),
        (comparison(["house", "house"]), "FIELD_INVALID", "models"),
        (comparison([f"m{number}" for number in range(9)]), "FIELD_INVALID", "models"),
        (comparison(["house", "No Such"]), "FIELD_INVALID", "models"),
        (comparison(width=7), "FIELD_INVALID", "spec.image.width"),
        (comparison(aspect_ratio="8:1"), "FIELD_INVALID", "spec.image.aspect_ratio"),
        (comparison(model_preference="house"), "FIELD_INVALID", "spec.image.model_preference"),
        (
            CompareModelsRequest(
                spec=generation_pb2.GenerationSpec(video=spec_pb2.VideoSpec(prompt="a walk")), models=MODELS
            ),
            "UNIMPLEMENTED",
            "spec.video",
        ),
    ],
)
async def test_what_cannot_be_compared_is_refused_before_anything_starts(request_, reason, field):
    steps = ScriptedSteps()
    async with meeting(steps) as stub:
        error = await refusal(stub.CompareModels(request_, timeout=LATE))
        assert (error.name, error.field) == (reason, field)
        assert not steps.calls
        assert not await listed(stub)


async def test_without_room_for_all_none_begins():
    steps = ScriptedSteps(hanging={"step"})
    async with meeting(steps, running=1, waiting=2) as stub:
        running = stub.Generate(image_request(), timeout=LATE)
        await running.read()
        error = await refusal(stub.CompareModels(comparison(), timeout=LATE))
        assert (error.code, error.queue_position) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 3)
        assert error.retry_after > 0
        assert len(await listed(stub)) == 1
        two = stub.CompareModels(comparison(["house", "sdxl"]), timeout=LATE)
        positions = {}
        while len(positions) < 2:
            response = await two.read()
            positions[response.model] = response.event.queued.position
        assert positions == {"house": 1, "sdxl": 2}
        steps.release.set()
        assert [r.event.WhichOneof("event") async for r in two].count("completed") == 2


# What the router is told of a picture, over real channels.


class Judge(Everyone):
    """A router that hears outcomes, at once, too late, or not at all."""

    def __init__(self, steps, *, late=False, error=None):
        super().__init__(steps)
        self.heard = asyncio.Queue()
        self.late = late
        self.error = error
        self.left = asyncio.Event()

    async def ReportOutcome(self, request, context):
        self.heard.put_nowait(request)
        if self.error is not None:
            raise self.error
        if self.late:
            try:
                await asyncio.sleep(60)
            finally:
                self.left.set()
        return router_pb2.ReportOutcomeResponse()


@asynccontextmanager
async def judged(servicer):
    async with everyone(servicer) as others:
        given = settings(others.address, grace_seconds=0)
        async with serve(spec(given)) as server, connect(server.address) as channel:
            yield GenerationServiceStub(channel)


async def test_the_router_is_told_by_the_generations_name():
    servicer = Judge(ScriptedSteps(overall=0.8))
    async with judged(servicer) as stub:
        made = results(await compare(stub, comparison(["house", "sdxl"])))
        heard = [await asyncio.wait_for(servicer.heard.get(), LATE) for _ in range(2)]
        assert {request.request_id for request in heard} == {result.id for result in made.values()}


NOT_KNOWN = MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, "no such request")


@pytest.mark.parametrize(
    "servicer",
    [Judge(ScriptedSteps(overall=0.8), late=True), Judge(ScriptedSteps(overall=0.8), error=NOT_KNOWN)],
)
async def test_a_router_that_does_not_listen_holds_nobody_up(servicer, monkeypatch):
    monkeypatch.setattr(reports, "REPORT_SECONDS", 5.0)
    servicer.heard, servicer.left = asyncio.Queue(), asyncio.Event()
    async with judged(servicer) as stub:
        began = asyncio.get_running_loop().time()
        found = await compare(stub, comparison(["house", "sdxl"]))
        assert asyncio.get_running_loop().time() - began < 5.0
        assert all(events[-1].WhichOneof("event") == "completed" for events in found.values())
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("report-")]
    if servicer.late:
        await asyncio.wait_for(servicer.left.wait(), LATE)


async def test_a_router_that_takes_no_outcomes_is_tolerated():
    async with judged(Everyone(ScriptedSteps(overall=0.8))) as stub:
        assert all(result.assets for result in results(await compare(stub)).values())
