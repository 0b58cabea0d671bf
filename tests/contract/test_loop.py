"""A picture under `min_quality`, as a caller meets it: over real gRPC, with scripted servers behind the orchestrator."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from scrollintel.visual.v1 import errors_pb2, events_pb2, router_pb2
from scrollintel.visual.v1.generation_pb2 import (
    CancelGenerationRequest,
    EstimateGenerationRequest,
    WatchGenerationRequest,
)
from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceStub
from services.orchestrator import acceptance
from services.orchestrator.service import spec
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.server import serve
from tests.contract.scripted_mesh import Everyone, everyone, settings
from tests.unit.orchestrator.scripted import RUN, ScriptedSteps, image_request

AWAY = MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "the model is away", retry_after=2.0)
UNKNOWN = MeshError(
    errors_pb2.ERROR_REASON_MODEL_UNKNOWN,
    "image.model_preference: no backend serves it",
    field="image.model_preference",
)
LATE = 30.0


class Everybody(Everyone):
    """Takes the reports that the router is sent as well."""

    async def ReportOutcome(self, request, context):
        self.steps.report_outcome(request)
        return router_pb2.ReportOutcomeResponse()


@asynccontextmanager
async def behind(steps, **values):
    async with everyone(Everybody(steps)) as others:
        given = settings(others.address, grace_seconds=0, **values)
        async with serve(spec(given)) as server, connect(server.address) as channel:
            yield GenerationServiceStub(channel)


def asked(request_id="", **fields):
    return image_request(request_id=request_id, **{"min_quality": 0.6, "max_attempts": 3} | fields)


async def collect(call):
    """Return the events of a call, numbered without gaps, of which the last one alone is terminal."""
    events = [response.event async for response in call]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    ends = [event.WhichOneof("event") in ("completed", "failed") for event in events]
    assert ends == [False] * (len(events) - 1) + [True]
    return events


async def generate(stub, request, timeout=LATE):
    return await collect(stub.Generate(request, timeout=timeout))


def decisions(events):
    return [
        events_pb2.Decision.Name(event.judged.decision).removeprefix("DECISION_")
        for event in events
        if event.WhichOneof("event") == "judged"
    ]


def last(events):
    return [event.judged for event in events if event.WhichOneof("event") == "judged"][-1]


def runs(steps):
    """Return what the router was asked to draw: by which name, from which seed."""
    executed = [request for request in steps.requests if isinstance(request, router_pb2.ExecuteRequest)]
    return [(request.request_id, request.image.seed) for request in executed]


def result(events):
    return events[-1].completed.result


async def test_the_caller_sees_each_attempt_and_gets_one_picture():
    steps = ScriptedSteps(overalls=[0.5, 0.7])
    async with behind(steps) as stub:
        events = await generate(stub, asked())
        assert decisions(events) == ["REGENERATE", "ACCEPT"]
        (asset,) = result(events).assets
        assert asset.metadata["attempts"] == "2"
        assert asset.quality.overall.value == pytest.approx(0.7)
        kinds = [event.WhichOneof("event") for event in events]
        assert (kinds.count("routed"), kinds.count("output"), kinds.count("scored")) == (2, 1, 1)
        assert steps.remembered == [False, False, True]


async def test_the_router_is_told_of_both_attempts():
    steps = ScriptedSteps(overalls=[0.5, 0.7])
    async with behind(steps) as stub:
        await generate(stub, asked())
    values = [round(outcome.quality.overall.value, 2) for outcome in steps.outcomes]
    assert sorted(values) == [0.5, 0.7]
    assert len({outcome.request_id for outcome in steps.outcomes}) == 2


async def test_the_same_request_is_not_drawn_again_nor_differently():
    steps = ScriptedSteps(overalls=[0.5, 0.7])
    async with behind(steps) as stub:
        first = await generate(stub, asked(request_id="r"))
        assert await generate(stub, asked(request_id="r")) == first
        assert steps.calls["routed"] == 2
    after_a_restart = ScriptedSteps(overalls=[0.5, 0.7])
    async with behind(after_a_restart) as stub:
        again = await generate(stub, asked(request_id="r"))
    assert result(again).assets[0].seed == result(first).assets[0].seed
    assert runs(after_a_restart) == runs(steps)


async def test_a_cancel_in_the_second_attempt_stops_it_and_delivers_nothing():
    steps = ScriptedSteps(overall=0.5, hanging={f"enhance_image:{RUN}"})
    async with behind(steps) as stub:
        call = stub.Generate(asked(), timeout=LATE)
        first = await anext(aiter(call))
        await asyncio.wait_for(steps.reached.wait(), LATE)
        await stub.CancelGeneration(CancelGenerationRequest(id=first.event.generation_id))
        watching = stub.WatchGeneration(WatchGenerationRequest(id=first.event.generation_id), timeout=LATE)
        events = await collect(watching)
        assert MeshError.from_status(events[-1].failed.status).name == "CANCELLED"
        assert decisions(events) == ["REGENERATE"]
        await asyncio.wait_for(steps.halted.wait(), LATE)
        assert not steps.calls["create_asset"]


async def test_a_second_attempt_that_fails_leaves_the_first_one():
    async with behind(ScriptedSteps(overall=0.5, failing={f"enhance_image:{RUN}": AWAY})) as stub:
        events = await generate(stub, asked())
        assert decisions(events) == ["REGENERATE", "GIVE_UP"]
        assert "the model is away" in last(events).reason
        assert last(events).delivered == 1
        assert len(result(events).assets) == 1
        assert not result(events).errors


async def test_without_a_quality_server_the_picture_is_delivered_and_the_reason_told():
    async with behind(ScriptedSteps(failing={"score_image": AWAY})) as stub:
        events = await generate(stub, asked())
        assert (decisions(events), last(events).reason) == (["GIVE_UP"], "it could not be scored")
        assert len(result(events).assets) == 1


async def test_when_the_money_is_spent_nothing_more_is_drawn():
    request = asked()
    request.max_cost_usd = 0.05
    async with behind(ScriptedSteps(overall=0.5, usd=0.02)) as stub:
        events = await generate(stub, request)
        assert decisions(events) == ["REGENERATE", "GIVE_UP"]
        assert "costs $0.02, with $0.01 left" in last(events).reason
        assert result(events).cost_usd == pytest.approx(0.04)


@pytest.mark.parametrize(("timeout", "expected"), [(LATE, ["GIVE_UP"]), (None, ["REGENERATE", "ACCEPT"])])
async def test_what_would_not_end_before_its_last_caller_leaves_is_not_begun(monkeypatch, timeout, expected):
    monkeypatch.setattr(acceptance, "FINISH_SECONDS", 2 * LATE)
    async with behind(ScriptedSteps(overalls=[0.5, 0.7])) as stub:
        events = await generate(stub, asked(), timeout)
        assert decisions(events) == expected
        assert len(result(events).assets) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"min_quality": 1.5}, "spec.image.min_quality"),
        ({"min_quality": float("nan")}, "spec.image.min_quality"),
        ({"max_attempts": 0}, "spec.image.max_attempts"),
        ({"max_attempts": 5}, "spec.image.max_attempts"),
        ({"quality_metric": 0}, "spec.image.quality_metric"),
        ({"quality_metric": 99}, "spec.image.quality_metric"),
    ],
)
async def test_what_breaks_a_rule_is_refused_by_its_field(fields, field):
    async with behind(ScriptedSteps()) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await generate(stub, asked(**fields))
        error = MeshError.from_rpc(raised.value, "orchestrator")
        assert (error.name, error.field) == ("FIELD_INVALID", field)


async def test_attempts_without_a_goal_are_refused():
    async with behind(ScriptedSteps()) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await generate(stub, image_request(max_attempts=2))
        error = MeshError.from_rpc(raised.value, "orchestrator")
        assert error.name == "FIELD_INVALID"
        assert "min_quality must be given" in error.message


async def test_an_estimate_tells_the_worst_that_the_loop_may_come_to_and_draws_nothing():
    steps = ScriptedSteps(usd=0.02)
    async with behind(steps) as stub:
        request = EstimateGenerationRequest(spec=asked(num_images=2).spec, max_cost_usd=0.1)
        answer = await stub.EstimateGeneration(request, timeout=LATE)
        assert [one.model for one in answer.candidates] == ["text_to_image_house"]
        assert (answer.most_drawings, answer.most_cost_usd) == (6, pytest.approx(0.1))
        assert answer.most_time.seconds == 6
        assert set(steps.calls) == {"route"}


@pytest.mark.parametrize(
    ("steps", "spec_", "expected"),
    [
        (ScriptedSteps(), asked(aspect_ratio="8:1").spec, ("FIELD_INVALID", "spec.image.aspect_ratio")),
        (ScriptedSteps(), asked(prompt="").spec, ("FIELD_INVALID", "spec.image.prompt")),
        (
            ScriptedSteps(failing={"route": UNKNOWN}),
            asked().spec,
            ("MODEL_UNKNOWN", "spec.image.model_preference"),
        ),
    ],
)
async def test_an_estimate_that_cannot_be_names_its_field(steps, spec_, expected):
    async with behind(steps) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.EstimateGeneration(EstimateGenerationRequest(spec=spec_), timeout=LATE)
        error = MeshError.from_rpc(raised.value, "orchestrator")
        assert (error.name, error.field) == expected
