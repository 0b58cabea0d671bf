"""The door: what goes through, what does not, and that nothing is lost, held or changed on the way."""

import asyncio
import importlib
import inspect
import time
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scrollintel.visual.v1 import (
    assets_pb2,
    assets_pb2_grpc,
    errors_pb2,
    generation_pb2,
    generation_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    prompt_pb2,
    prompt_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
)
from scrollintel.visual.v1.assets_pb2 import UploadAssetRequest
from scrollintel.visual.v1.generation_pb2 import GetGenerationRequest, WatchGenerationRequest
from services.gateway import service
from services.gateway.routes import ROUTES
from services.gateway.settings import Settings
from services.orchestrator import engine
from services.runtime import deadline, identity
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.identity import REQUEST_KEY, TENANT_KEY
from services.runtime.server import serve
from tests.contract.scripted_mesh import NOWHERE, Everyone, everyone, orchestrating
from tests.unit.orchestrator.scripted import ScriptedSteps, image_request

FAILURE = MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "the model is away", retry_after=2.0)
LATE = 20.0
CHUNK = 256 * 1024
CHUNKS = 200
BYTES_UNREAD = (
    24 * 1024 * 1024
)  # what sockets, flow-control windows and gRPC's own read-ahead may hold on two hops


class Store(Everyone):
    """An assets, prompt and router server that answers by what it is asked."""

    def __init__(self):
        super().__init__(ScriptedSteps())
        self.seen = []
        self.sent = 0
        self.stopped = asyncio.Event()
        self.started = asyncio.Event()

    async def GetAsset(self, request, context):
        self.seen.append((identity.current(), deadline.remaining()))
        match request.id:
            case "missing":
                raise MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, "no such asset")
            case "slow":
                self.started.set()
                try:
                    await asyncio.sleep(30)
                finally:
                    self.stopped.set()
        return assets_pb2.GetAssetResponse(asset=assets_pb2.Asset(id=request.id))

    async def DownloadAsset(self, request, context):
        try:
            for number in range(CHUNKS):
                self.sent += 1
                yield assets_pb2.DownloadAssetResponse(data=bytes([number]) * CHUNK)
                if request.id == "broken" and number == 2:
                    raise FAILURE
        finally:
            self.stopped.set()

    async def UploadAsset(self, requests, context):
        sizes, described = 0, None
        self.started.set()
        try:
            async for request in requests:
                if request.WhichOneof("part") == "header":
                    described = request.header
                    if described.media_type == "image/webp":
                        raise MeshError(errors_pb2.ERROR_REASON_MEDIA_INVALID, "not today")
                sizes += len(request.data)
        finally:
            self.stopped.set()
        asset = assets_pb2.Asset(id="up", metadata={"bytes": str(sizes), "type": described.media_type})
        return assets_pb2.UploadAssetResponse(asset=asset)

    async def RecordFeedback(self, request, context):
        self.seen.append(request)
        return usage_pb2.RecordFeedbackResponse()

    async def ListBackends(self, request, context):
        return router_pb2.ListBackendsResponse(backends=[router_pb2.Backend(name="triton/x")])


@asynccontextmanager
async def door(steps=None, others=None, **values):
    """Serve a gateway in front of a real orchestrator over scripted steps and of a scripted store."""
    async with AsyncExitStack() as stack:
        orchestrator = await stack.enter_async_context(orchestrating(steps or ScriptedSteps()))
        store = others or Store()
        behind = await stack.enter_async_context(everyone(store))
        addresses = {
            f"{name}_address": behind.address
            for name in ("prompt", "router", "assets", "usage", "quality", "safety")
        }
        given = Settings(
            orchestrator_address=orchestrator.address,
            models_address=NOWHERE,
            grace_seconds=0,
            **addresses,
            **values,
        )
        server = await stack.enter_async_context(serve(service.spec(given)))
        channel = await stack.enter_async_context(connect(server.address))
        direct = await stack.enter_async_context(connect(orchestrator.address))
        yield SimpleNamespace(
            generations=generation_pb2_grpc.GenerationServiceStub(channel),
            direct=generation_pb2_grpc.GenerationServiceStub(direct),
            assets=assets_pb2_grpc.AssetServiceStub(channel),
            models=models_pb2_grpc.ModelServiceStub(channel),
            prompts=prompt_pb2_grpc.PromptServiceStub(channel),
            router=router_pb2_grpc.RouterServiceStub(channel),
            usage=usage_pb2_grpc.UsageServiceStub(channel),
            health=health_pb2_grpc.HealthStub(channel),
            behind=store,
        )


async def answers(call):
    return [response async for response in call] if hasattr(call, "__aiter__") else await call


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answers(call)
    return MeshError.from_rpc(raised.value, "gateway")


async def test_a_generation_goes_through_as_it_is():
    async with door() as mesh:
        events = [r.event async for r in mesh.generations.Generate(image_request(num_images=2), timeout=LATE)]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        result = events[-1].completed.result
        behind = [
            r.event
            async for r in mesh.direct.WatchGeneration(WatchGenerationRequest(id=result.id), timeout=LATE)
        ]
        assert events == behind
        known = await mesh.generations.GetGeneration(GetGenerationRequest(id=result.id), timeout=LATE)
        assert known.generation.result == result


async def test_every_server_is_reached_through_one_address():
    async with door() as mesh:
        assert (await mesh.assets.GetAsset(assets_pb2.GetAssetRequest(id="a"))).asset.id == "a"
        enhanced = await mesh.prompts.EnhancePrompt(prompt_pb2.EnhancePromptRequest(prompt="a cat"))
        assert enhanced.prompt == "a cat, watercolor"
        (backend,) = (await mesh.router.ListBackends(router_pb2.ListBackendsRequest())).backends
        assert backend.name == "triton/x"
        feedback = usage_pb2.RecordFeedbackRequest(generation_id="g", rating=5)
        await mesh.usage.RecordFeedback(feedback)
        assert mesh.behind.seen[-1] == feedback


async def test_models_are_compared_through_the_door():
    async with door(ScriptedSteps(unknown=frozenset({"b"}))) as mesh:
        request = generation_pb2.CompareModelsRequest(spec=image_request().spec, models=["a", "b"])
        ends = {r.model: r.event async for r in mesh.generations.CompareModels(request, timeout=LATE)}
        assert ends["a"].completed.result.model_used == "a"
        assert MeshError.from_status(ends["b"].failed.status).name == "MODEL_UNKNOWN"


async def test_requests_are_checked_at_the_door():
    steps = ScriptedSteps()
    async with door(steps) as mesh:
        error = await refusal(mesh.generations.Generate(image_request(width=7), timeout=LATE))
        assert (error.name, error.field) == ("FIELD_INVALID", "spec.image.width")
        error = await refusal(mesh.assets.GetAsset(assets_pb2.GetAssetRequest(id="")))
        assert (error.name, error.field) == ("FIELD_INVALID", "id")
        assert not steps.calls
        assert not mesh.behind.seen


async def test_errors_from_behind_keep_their_details():
    async with door(ScriptedSteps(failing={"routed": FAILURE})) as mesh:
        error = await refusal(mesh.assets.GetAsset(assets_pb2.GetAssetRequest(id="missing")))
        assert (error.name, error.message) == ("NOT_FOUND", "no such asset")
        error = await refusal(mesh.assets.DownloadAsset(assets_pb2.DownloadAssetRequest(id="broken")))
        assert (error.name, error.message, error.retry_after) == (
            "MODEL_UNAVAILABLE",
            "the model is away",
            2.0,
        )
        error = await refusal(mesh.generations.Generate(image_request(aspect_ratio="8:1"), timeout=LATE))
        assert (error.name, error.field) == ("FIELD_INVALID", "spec.image.aspect_ratio")


async def test_a_server_that_is_away_is_named_with_a_time_to_try_again():
    async with door() as mesh:
        error = await refusal(mesh.models.ListModels(models_pb2.ListModelsRequest(), timeout=LATE))
        assert (error.name, error.code) == ("DEPENDENCY_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
        assert "models server" in error.message
        assert error.retry_after > 0


@pytest.mark.parametrize(
    ("stub", "rpc", "request_"),
    [
        ("assets", "CreateAsset", assets_pb2.CreateAssetRequest(id="a", media={"uri": f"blob:{'0' * 64}"})),
        ("router", "Execute", router_pb2.ExecuteRequest(request_id="r", image={"prompt": "a"})),
        ("router", "DrainBackend", router_pb2.DrainBackendRequest(name="triton/x", drain=True)),
        ("router", "ReportOutcome", router_pb2.ReportOutcomeRequest(request_id="r", rating=1)),
        ("usage", "GetBudget", usage_pb2.GetBudgetRequest(tenant="local")),
        (
            "generations",
            "CreateGeneration",
            generation_pb2.CreateGenerationRequest(spec=image_request().spec),
        ),
    ],
)
async def test_what_is_not_open_is_unimplemented_and_never_reaches_a_server(stub, rpc, request_):
    async with door() as mesh:
        error = await refusal(getattr(getattr(mesh, stub), rpc)(request_, timeout=LATE))
        assert error.name == "UNIMPLEMENTED"
        assert not mesh.behind.steps.calls


async def test_a_lease_on_a_model_is_for_the_meshs_own_servers():
    async with door() as mesh:
        call = mesh.models.UseModel(iter([models_pb2.UseModelRequest(name="x")]), timeout=LATE)
        assert (await refusal(call.read())).name == "UNIMPLEMENTED"


async def test_health_tells_which_rpcs_are_open():
    async with door() as mesh:
        package = "scrollintel.visual.v1"
        for rpc, served in (("AssetService/GetAsset", True), ("AssetService/CreateAsset", False)):
            check = mesh.health.Check(health_pb2.HealthCheckRequest(service=f"{package}.{rpc}"))
            if served:
                assert (await check).status == health_pb2.HealthCheckResponse.SERVING
            else:
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await check
                assert raised.value.code() == grpc.StatusCode.NOT_FOUND


SERVICERS = {
    "orchestrator": "services.orchestrator.service",
    "prompt": "services.prompt.service",
    "assets": "services.assets.service",
    "models": "services.models.service",
    "router": "router.service",
    "usage": "services.usage.service",
    "quality": "services.quality.service",
    "safety": "services.safety.service",
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.server)
def test_what_is_open_is_served(route):
    module = importlib.import_module(SERVICERS[route.server])
    base = f"{route.service.name}Servicer"
    (servicer,) = [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if each.__module__ == module.__name__ and base in {parent.__name__ for parent in each.__mro__}
    ]
    for rpc in route.open:
        handler = getattr(servicer, rpc)
        assert inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler), rpc


@pytest.mark.parametrize(("trust", "tenant"), [(False, "local"), (True, "acme")])
async def test_a_claimed_tenant_is_believed_only_where_settings_say_so(trust, tenant):
    async with door(trust_tenant=trust) as mesh:
        claimed = [(TENANT_KEY, "acme"), (REQUEST_KEY, "r-1")]
        await mesh.assets.GetAsset(assets_pb2.GetAssetRequest(id="a"), metadata=claimed)
        ((who, _),) = mesh.behind.seen
        assert who == identity.Identity(tenant, "r-1")


async def test_a_call_without_a_request_id_gets_one_and_keeps_its_deadline():
    async with door() as mesh:
        await mesh.assets.GetAsset(assets_pb2.GetAssetRequest(id="a"), timeout=30)
        ((who, left),) = mesh.behind.seen
        assert who.request_id
        assert 20 < left < 30


async def test_a_tenant_over_its_limit_is_refused_and_others_are_not():
    steps = ScriptedSteps(hanging={"step"})
    async with door(steps, tenant_calls=2, trust_tenant=True) as mesh:
        acme = [(TENANT_KEY, "acme")]
        held = [mesh.generations.Generate(image_request(), metadata=acme, timeout=LATE) for _ in range(2)]
        for call in held:
            await call.read()
        error = await refusal(mesh.assets.GetAsset(assets_pb2.GetAssetRequest(id="a"), metadata=acme))
        assert (error.name, error.code) == ("QUOTA_EXHAUSTED", grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert error.retry_after > 0
        await mesh.assets.GetAsset(assets_pb2.GetAssetRequest(id="a"), metadata=[(TENANT_KEY, "other")])
        steps.release.set()
        for call in held:
            assert [r.event async for r in call][-1].WhichOneof("event") == "completed"
        await mesh.assets.GetAsset(assets_pb2.GetAssetRequest(id="a"), metadata=acme)


@pytest.mark.parametrize("read", [0, 1])
async def test_a_client_that_goes_away_stops_the_work_behind(read):
    steps = ScriptedSteps(hanging={"step"})
    async with door(steps) as mesh:
        call = mesh.generations.Generate(image_request(), timeout=LATE)
        for _ in range(read):
            await call.read()
        await asyncio.wait_for(steps.reached.wait(), LATE)
        call.cancel()
        await asyncio.wait_for(steps.halted.wait(), LATE)


async def test_cancelling_a_single_call_stops_it_behind():
    async with door() as mesh:
        call = asyncio.ensure_future(mesh.assets.GetAsset(assets_pb2.GetAssetRequest(id="slow")))
        await asyncio.wait_for(mesh.behind.started.wait(), LATE)
        call.cancel()
        await asyncio.wait_for(mesh.behind.stopped.wait(), LATE)


async def test_a_deadline_is_heard_of_through_the_door(monkeypatch):
    monkeypatch.setattr(engine, "LEAVE_MARGIN_SECONDS", 1.5)  # what the event has to arrive in
    steps = ScriptedSteps(hanging={"step"})
    async with door(steps) as mesh:
        events = [r.event async for r in mesh.generations.Generate(image_request(), timeout=3)]
        assert MeshError.from_status(events[-1].failed.status).name == "DEADLINE_EXCEEDED"
        assert steps.stopped == ["step"]


async def test_a_slow_reader_holds_back_the_sender_and_loses_nothing():
    async with door() as mesh:
        call = mesh.assets.DownloadAsset(assets_pb2.DownloadAssetRequest(id="a"), timeout=30)
        await call.read()
        before = -1
        async with asyncio.timeout(LATE):
            while before != mesh.behind.sent:
                before = mesh.behind.sent
                await asyncio.sleep(0.2)
        assert before * CHUNK <= BYTES_UNREAD < CHUNKS * CHUNK
        rest = [response.data async for response in call]
        assert [data[0] for data in rest] == list(range(1, CHUNKS))
        assert all(len(data) == CHUNK for data in rest)


async def test_a_reader_that_goes_away_stops_the_sender():
    async with door() as mesh:
        call = mesh.assets.DownloadAsset(assets_pb2.DownloadAssetRequest(id="a"), timeout=30)
        await call.read()
        call.cancel()
        await asyncio.wait_for(mesh.behind.stopped.wait(), LATE)
        assert mesh.behind.sent < CHUNKS


async def upload(*parts, wait=None):
    for part in parts:
        yield UploadAssetRequest(**part)
    if wait is not None:
        await wait.wait()


PNG = {"header": {"media_type": "image/png"}}


async def test_an_upload_goes_through():
    async with door() as mesh:
        parts = [PNG, *({"data": b"x" * 1000} for _ in range(50))]
        asset = (await mesh.assets.UploadAsset(upload(*parts), timeout=LATE)).asset
        assert dict(asset.metadata) == {"bytes": "50000", "type": "image/png"}


async def test_a_bad_part_of_an_upload_is_refused_at_the_door():
    async with door() as mesh:
        gif = {"header": {"media_type": "image/gif"}}
        error = await refusal(mesh.assets.UploadAsset(upload(gif), timeout=LATE))
        assert (error.name, error.field) == ("FIELD_INVALID", "header.media_type")


async def test_an_upload_that_is_refused_behind_ends_with_its_reason():
    async with door() as mesh:
        webp = {"header": {"media_type": "image/webp"}}
        error = await refusal(mesh.assets.UploadAsset(upload(webp, wait=asyncio.Event()), timeout=LATE))
        assert (error.name, error.message) == ("MEDIA_INVALID", "not today")


async def test_an_upload_that_is_given_up_stops_behind():
    async with door() as mesh:
        call = asyncio.ensure_future(mesh.assets.UploadAsset(upload(PNG, wait=asyncio.Event()), timeout=LATE))
        await asyncio.wait_for(mesh.behind.started.wait(), LATE)
        call.cancel()
        await asyncio.wait_for(mesh.behind.stopped.wait(), LATE)


async def test_the_door_adds_little():
    """The median of a small call through the door, beside the same call made directly, on one busy machine."""
    async with door() as mesh:
        request = GetGenerationRequest(id="gen-unknown")

        async def median(stub):
            taken = []
            for _ in range(60):
                started = time.perf_counter()
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.GetGeneration(request)
                taken.append(time.perf_counter() - started)
            return sorted(taken)[len(taken) // 2]

        added = await median(mesh.generations) - await median(mesh.direct)
        assert added < 0.1
