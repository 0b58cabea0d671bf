"""RouterService over the wire: every rpc, and each way a run can end."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
import yaml
from PIL import Image

from router.service import assemble, spec
from router.settings import Settings
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2, events_pb2, quality_pb2, router_pb2, router_pb2_grpc, spec_pb2
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.images import decode
from services.runtime.server import serve
from tests.contract.scripted_mesh import NOWHERE
from tests.unit.router.scripted import ScriptedBackend, entry, gone

READY, UNAVAILABLE = router_pb2.BACKEND_STATE_READY, router_pb2.BACKEND_STATE_UNAVAILABLE
DRAINING, NEEDS_WEIGHTS = router_pb2.BACKEND_STATE_DRAINING, router_pb2.BACKEND_STATE_NEEDS_WEIGHTS
BETTER = {"prior": {"quality": 0.9, "seconds_per_step": 0.01}}


@dataclass
class Running:
    """A router at work: its stub, the scripted backends behind it by the last part of their names, its blobs."""

    stub: "router_pb2_grpc.RouterServiceAsyncStub"
    backends: dict[str, ScriptedBackend]
    blobs: BlobStore

    async def until(self, name: str, **wanted: int) -> router_pb2.Backend:
        """Watch until a backend is as wanted, such as `state=READY, in_flight=0`."""
        watch = self.stub.WatchBackends(router_pb2.WatchBackendsRequest(), timeout=20)
        async for told in watch:
            backend = told.backend
            if backend.name == name and all(getattr(backend, key) == value for key, value in wanted.items()):
                watch.cancel()
                return backend
        raise AssertionError("the watch ended")


@asynccontextmanager
async def router_over(tmp_path: Path, *entries) -> AsyncIterator[Running]:
    backends: dict[str, ScriptedBackend] = {}

    def adapt(one):
        return backends.setdefault(one.name.rpartition("/")[2], ScriptedBackend(one))

    file = tmp_path / "backends.yaml"
    file.write_text(
        yaml.safe_dump({"backends": [one.model_dump(mode="json") for one in entries or [entry()]]})
    )
    providers = tmp_path / "providers.yaml"
    providers.write_text("providers: []\n")
    settings = Settings(
        home=tmp_path,
        models_address=NOWHERE,
        quality_address=NOWHERE,
        backends_file=file,
        providers_file=providers,
        probe_seconds=0.02,
        grace_seconds=0.2,
    )
    scripted = replace(spec(settings), build=lambda own: assemble(own, adapt))
    async with serve(scripted) as server, connect(server.address) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        yield Running(stub, backends, BlobStore.open("", tmp_path))


@pytest_asyncio.fixture
async def router(tmp_path: Path) -> AsyncIterator[Running]:
    async with router_over(tmp_path, entry("alpha", **BETTER), entry("beta")) as running:
        yield running


def image(**changes: object) -> spec_pb2.ImageSpec:
    return spec_pb2.ImageSpec(**({"prompt": "a red apple", "seed": 7} | changes))


def asked(previews: bool = False, **changes: object) -> router_pb2.ExecuteRequest:
    return router_pb2.ExecuteRequest(request_id="request-1", image=image(**changes), previews=previews)


async def execute(
    router: Running, request: router_pb2.ExecuteRequest, into: list | None = None, timeout: float = 30
) -> list:
    events = [] if into is None else into
    async for event in router.stub.Execute(request, timeout=timeout):
        events.append(event)
    return events


def kinds(events: list) -> list[str]:
    return [event.WhichOneof("event") for event in events]


async def failing(call) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = MeshError.from_rpc(caught.value, "router")
    assert caught.value.code() is error.code
    return error


async def test_route_explains_everyone_and_runs_nothing(router):
    router.backends["beta"].health = State.NEEDS_WEIGHTS
    await router.until("triton/beta", state=NEEDS_WEIGHTS)
    ranked = (await router.stub.Route(router_pb2.RouteRequest(image=image(num_images=2)))).candidates
    assert [(one.backend, one.model) for one in ranked] == [
        ("triton/alpha", "alpha"),
        ("triton/beta", "beta"),
    ]
    best, refused = ranked
    assert 0 < best.score <= 1
    assert set(best.scores) == {"quality", "latency", "cost", "headroom"}
    assert best.predicted_time.ToTimedelta().total_seconds() == pytest.approx(0.01 * 8 * 2, rel=0.1)
    assert (best.predicted_quality, best.predicted_cost_usd, best.refusal) == (0.9, 0, "")
    assert (refused.score, refused.refusal) == (0, "needs weights: run `vmesh models build`")
    assert not router.backends["alpha"].jobs


async def test_the_objective_is_heard(tmp_path):
    slow = {"prior": {"quality": 0.9, "seconds_per_step": 10.0}}
    async with router_over(tmp_path, entry("fine", **slow), entry("fast")) as router:
        for objective, best in (("QUALITY", "triton/fine"), ("LATENCY", "triton/fast")):
            wanted = spec_pb2.Objective.Value(f"OBJECTIVE_{objective}")
            answer = await router.stub.Route(router_pb2.RouteRequest(image=image(), objective=wanted))
            assert answer.candidates[0].backend == best


async def test_an_unknown_model_is_told_with_near_names(router):
    for call in (
        router.stub.Route(router_pb2.RouteRequest(image=image(model_preference="alpah"))),
        execute(router, asked(model_preference="alpah")),
    ):
        error = await failing(call)
        assert (error.name, error.field) == ("MODEL_UNKNOWN", "image.model_preference")
        assert error.suggestions == ["alpha"]


async def test_a_run_streams_its_whole_life(router):
    events = await execute(router, asked(previews=True, num_images=2, steps=8))
    expected = ["routed"]
    for k in range(1, 9):
        expected += ["step", *["preview"] * (2 if k in (2, 4, 6) else 0)]
    assert kinds(events) == [*expected, "output", "output"]
    routed = events[0].routed
    assert routed.chosen.backend == "triton/alpha"
    assert routed.reasons[0].startswith("scores 0.")
    assert [one.backend for one in routed.runners_up] == ["triton/beta"]
    steps = [event.step for event in events if event.HasField("step")]
    assert {(step.stage, step.n) for step in steps} == {(events_pb2.STAGE_DRAW, 8)}


async def test_outputs_are_stored_pictures_that_say_how_they_were_drawn(router):
    events = await execute(router, asked(num_images=2, steps=4, guidance_scale=3.5))
    outputs = [event.output for event in events if event.HasField("output")]
    assert [(output.index, output.seed) for output in outputs] == [(0, 7), (1, 8)]
    for output in outputs:
        media = output.media
        assert (media.media_type, media.width, media.height, media.frames) == ("image/png", 16, 16, 1)
        png = await router.blobs.get(media)
        expected = np.random.default_rng(output.seed).integers(0, 256, (16, 16, 3), np.uint8)
        assert np.array_equal(await decode(png), expected)
        text = Image.open(io.BytesIO(png)).text
        assert text == {"model": "alpha", "steps": "4", "guidance_scale": "3.5", "seed": str(output.seed)}


async def test_previews_are_small_pngs(tmp_path):
    async with router_over(tmp_path, entry(sizes=[{"width": 512, "height": 256}])) as router:
        events = await execute(router, asked(previews=True, steps=4))
    previews = [event.preview for event in events if event.HasField("preview")]
    assert len(previews) == 3
    for preview in previews:
        assert preview.media_type == "image/png"
        assert len(preview.image) <= 64 * 1024
        height, width, _ = (await decode(preview.image)).shape
        assert width == 2 * height


async def test_a_seed_is_drawn_where_none_is_given(router):
    request = asked()
    request.image.ClearField("seed")
    seeds = {(await execute(router, request))[-1].output.seed for _ in range(2)}
    assert len(seeds) == 2


async def test_a_failure_falls_back_and_says_so(router):
    router.backends["alpha"].failures[3] = gone("alpha")
    events = await execute(router, asked(steps=4))
    assert kinds(events) == ["routed", "step", "step", "fallback", *["step"] * 4, "output"]
    fallback = events[3].fallback
    assert getattr(fallback, "from") == "triton/alpha"
    assert fallback.to == "triton/beta"
    assert "alpha cannot be reached" in fallback.reason


async def test_the_last_failure_tells_when_to_come_back(router):
    router.backends["alpha"].failures[3] = gone("alpha")
    events: list = []
    error = await failing(execute(router, asked(model_preference="alpha"), events))
    assert kinds(events) == ["routed", "step", "step"]
    assert (error.name, str(error.family), error.retry_after) == ("MODEL_UNAVAILABLE", "MODEL_ERROR", 6)
    assert error.alternative_models == ["beta"]


async def test_what_goes_away_is_listed_so_at_once_and_comes_back_by_its_probes(router):
    alpha = router.backends["alpha"]
    alpha.gates[3] = asyncio.Event()
    events: list = []
    run = asyncio.create_task(execute(router, asked(model_preference="alpha"), events))
    await router.until("triton/alpha", in_flight=1)
    alpha.health = State.UNAVAILABLE
    await router.until("triton/alpha", state=UNAVAILABLE)
    alpha.gates[3].set()
    assert (await failing(run)).name == "MODEL_UNAVAILABLE"
    alpha.health = State.READY
    await router.until("triton/alpha", state=READY)
    assert kinds(await execute(router, asked(model_preference="alpha")))[-1] == "output"


async def test_a_model_without_weights_is_told_with_the_remedy(router):
    router.backends["beta"].health = State.NEEDS_WEIGHTS
    await router.until("triton/beta", state=NEEDS_WEIGHTS)
    error = await failing(execute(router, asked(model_preference="beta")))
    assert error.name == "MODEL_NEEDS_WEIGHTS"
    assert "vmesh models build" in error.message
    assert error.alternative_models == ["alpha"]


async def test_more_steps_than_the_model_takes_is_the_fields_fault(router):
    error = await failing(execute(router, asked(steps=120)))
    assert (error.name, error.field) == ("FIELD_INVALID", "image.steps")
    assert "takes at most 100" in error.message
    assert not router.backends["alpha"].jobs


async def test_nobody_home_is_told_with_every_refusal(router):
    for name, backend in router.backends.items():
        backend.health = State.UNAVAILABLE
        await router.until(f"triton/{name}", state=UNAVAILABLE)
    error = await failing(execute(router, asked()))
    assert error.name == "NO_BACKEND"
    assert "triton/alpha does not answer" in error.message
    assert "triton/beta does not answer" in error.message


async def test_full_is_refused_at_once_with_how_long_it_would_take(tmp_path):
    async with router_over(tmp_path, entry(concurrency=1, queue=1)) as router:
        router.backends["alpha"].gates[1] = asyncio.Event()
        runs = [asyncio.create_task(execute(router, asked())) for _ in range(2)]
        await router.until("triton/alpha", in_flight=1)
        error = await failing(execute(router, asked()))
        assert (error.name, error.queue_position) == ("OVERLOADED", 2)
        assert error.retry_after == error.estimated_wait > 0
        router.backends["alpha"].gates[1].set()
        assert [kinds(events)[-1] for events in await asyncio.gather(*runs)] == ["output"] * 2


async def test_a_client_that_cancels_stops_the_backend(router):
    alpha = router.backends["alpha"]
    alpha.gates[4] = asyncio.Event()
    call = router.stub.Execute(asked(steps=100), timeout=30)
    async for event in call:
        if event.step.k == 3:
            break
    call.cancel()
    await router.until("triton/alpha", in_flight=0, state=READY)
    assert (alpha.running, alpha.steps) == (0, 3)


async def test_a_client_that_never_reads_is_waited_for_and_then_let_go(tmp_path):
    async with router_over(tmp_path, entry(sizes=[{"width": 128, "height": 128}])) as router:
        alpha = router.backends["alpha"]
        call = router.stub.Execute(asked(steps=100, num_images=16, previews=True), timeout=30)
        await router.until("triton/alpha", in_flight=1)
        while alpha.steps < 100:
            before = alpha.steps
            await asyncio.sleep(0.5)
            if alpha.steps == before:
                break
        assert alpha.steps < 100, "the writer does not run away from the reader"
        call.cancel()
        await router.until("triton/alpha", in_flight=0, state=READY)
        assert alpha.running == 0


async def test_a_deadline_stops_the_backend(router):
    alpha = router.backends["alpha"]
    alpha.gates[4] = asyncio.Event()
    error = await failing(execute(router, asked(steps=100), timeout=2.0))
    assert error.name == "DEADLINE_EXCEEDED"
    await router.until("triton/alpha", in_flight=0, state=READY)
    assert (alpha.running, alpha.steps) == (0, 3)


async def test_the_backends_are_listed_by_name_with_when_they_were_asked(router):
    listed = (await router.stub.ListBackends(router_pb2.ListBackendsRequest())).backends
    assert [one.name for one in listed] == ["triton/alpha", "triton/beta"]
    for one in listed:
        assert (one.state, one.modality) == (
            READY,
            router_pb2.MODALITY_TEXT_TO_IMAGE,
        )
        assert (one.in_flight, one.concurrency) == (0, 1)
        assert one.checked_at.seconds > 1_700_000_000


async def test_draining_lets_running_work_finish_and_sends_new_work_elsewhere(router):
    alpha = router.backends["alpha"]
    alpha.gates[4] = asyncio.Event()
    run = asyncio.create_task(execute(router, asked()))
    await router.until("triton/alpha", in_flight=1)
    request = router_pb2.DrainBackendRequest(name="triton/alpha", drain=True)
    drained = (await router.stub.DrainBackend(request)).backend
    assert (drained.state, drained.in_flight) == (DRAINING, 1)
    assert (await execute(router, asked()))[0].routed.chosen.backend == "triton/beta"
    alpha.gates[4].set()
    assert kinds(await run)[-1] == "output"
    request = router_pb2.DrainBackendRequest(name="triton/alpha", drain=False)
    assert (await router.stub.DrainBackend(request)).backend.state == READY
    assert (await execute(router, asked()))[0].routed.chosen.backend == "triton/alpha"


async def test_draining_what_is_not_there_names_what_is(router):
    call = router.stub.DrainBackend(router_pb2.DrainBackendRequest(name="triton/omega", drain=True))
    error = await failing(call)
    assert (error.name, error.field) == ("NOT_FOUND", "name")
    assert "triton/alpha, triton/beta" in error.message


async def test_what_was_judged_moves_what_is_expected_and_outlives_the_router(tmp_path):
    async with router_over(tmp_path, entry("alpha")) as router:
        await execute(router, asked())
        before = await expected_quality(router)
        overall = quality_pb2.Score(value=1.0, measured_by="test/1")
        report = router_pb2.ReportOutcomeRequest(
            request_id="request-1", quality=quality_pb2.QualityMetrics(overall=overall)
        )
        await router.stub.ReportOutcome(report)
        async with asyncio.timeout(20):
            while (after := await expected_quality(router)) <= before:
                await asyncio.sleep(0.02)
    async with router_over(tmp_path, entry("alpha")) as router:
        assert await expected_quality(router) == pytest.approx(after)


async def test_a_request_that_nobody_ran_cannot_be_judged(router):
    report = router_pb2.ReportOutcomeRequest(request_id="request-9", rating=5)
    error = await failing(router.stub.ReportOutcome(report))
    assert (error.name, error.field) == ("NOT_FOUND", "request_id")


async def test_video_goes_to_those_who_make_video(router):
    request = router_pb2.ExecuteRequest(request_id="request-1", video=spec_pb2.VideoSpec(prompt="a wave"))
    error = await failing(execute(router, request))
    assert error.reason == errors_pb2.ERROR_REASON_NO_BACKEND
    assert "video" in error.message


async def test_a_picture_to_change_must_be_there_and_be_one(router):
    blobs = router.blobs
    note = await blobs.put(b"no picture", media_type="image/png")
    gone = await blobs.put(b"gone", media_type="image/png")
    await blobs.delete(gone.sha256)
    for media, reason in ((note, "MEDIA_INVALID"), (gone, "NOT_FOUND")):
        error = await failing(execute(router, asked(source_image=media)))
        assert error.name == reason


async def expected_quality(router: Running) -> float:
    ranked = await router.stub.Route(router_pb2.RouteRequest(image=image()))
    return ranked.candidates[0].predicted_quality


async def test_the_declared_rules_are_asked_at_the_door(router):
    error = await failing(execute(router, router_pb2.ExecuteRequest(image=image())))
    assert (error.name, error.field) == ("FIELD_INVALID", "request_id")
