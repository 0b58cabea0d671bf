"""UsageService takes feedback to the router, and says of the rest that it is not served yet."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scrollintel.visual.v1 import errors_pb2, router_pb2, router_pb2_grpc, usage_pb2_grpc
from scrollintel.visual.v1 import usage_pb2 as pb
from services.runtime import identity
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.identity import TENANT_KEY
from services.runtime.server import ServerSpec, serve
from services.runtime.settings import ServerSettings
from services.usage.service import spec
from services.usage.settings import Settings

NOWHERE = "127.0.0.1:1"
RECORD = pb.UsageRecord(request_id="r", tenant="local", model="m")


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    settings = Settings(home=tmp_path, router_address=NOWHERE)
    async with serve(spec(settings)) as server, connect(server.address) as channel:
        yield channel


async def test_it_is_healthy(channel: grpc.aio.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service="scrollintel.visual.v1.UsageService")
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(request)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("RecordUsage", pb.RecordUsageRequest(record=RECORD)),
        ("QueryUsage", pb.QueryUsageRequest(group_by=pb.USAGE_GROUP_DAY)),
        ("GetBudget", pb.GetBudgetRequest(tenant="local")),
        ("SetBudget", pb.SetBudgetRequest(budget=pb.Budget(tenant="local"))),
    ],
)
async def test_every_other_rpc_is_declared_and_not_served(
    channel: grpc.aio.Channel, rpc: str, request_: object
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(usage_pb2_grpc.UsageServiceStub(channel), rpc)(request_)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    error = MeshError.from_rpc(caught.value, "usage")
    assert error.name == "UNIMPLEMENTED"
    assert rpc in error.message


class Router(router_pb2_grpc.RouterServiceServicer):
    """A router that knows one generation of one tenant."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    async def ReportOutcome(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        tenant = identity.current().tenant
        if (tenant, request.request_id) != ("acme", "gen-1"):
            raise MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, "request_id: no such", field="request_id")
        self.heard.append((tenant, request))
        return router_pb2.ReportOutcomeResponse()


@asynccontextmanager
async def routed(router: Router) -> AsyncIterator[Any]:
    @asynccontextmanager
    async def build(_: ServerSettings) -> AsyncIterator[Router]:
        yield router

    described = ServerSpec(
        name="router",
        settings=ServerSettings(grace_seconds=0),
        services=[router_pb2.DESCRIPTOR.services_by_name["RouterService"]],
        build=build,
        register=router_pb2_grpc.add_RouterServiceServicer_to_server,
    )
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(serve(described))
        settings = Settings(router_address=behind.address, grace_seconds=0)
        server = await stack.enter_async_context(serve(spec(settings)))
        channel = await stack.enter_async_context(connect(server.address))
        yield usage_pb2_grpc.UsageServiceStub(channel)


ACME = [(TENANT_KEY, "acme")]


async def test_feedback_reaches_the_router_with_who_gave_it() -> None:
    router = Router()
    async with routed(router) as stub:
        for request_id in ("a", "b"):  # what is sent again counts once
            request = pb.RecordFeedbackRequest(request_id=request_id, generation_id="gen-1", rating=4)
            await stub.RecordFeedback(request, metadata=ACME)
    ((tenant, report),) = router.heard
    assert (tenant, report) == ("acme", router_pb2.ReportOutcomeRequest(request_id="gen-1", rating=4))


@pytest.mark.parametrize(
    ("request_", "metadata", "reason"),
    [
        (pb.RecordFeedbackRequest(generation_id="gen-2", rating=4), ACME, "NOT_FOUND"),
        (pb.RecordFeedbackRequest(generation_id="gen-1", rating=4), [], "NOT_FOUND"),
        (pb.RecordFeedbackRequest(generation_id="gen-1", rating=0), ACME, "FIELD_INVALID"),
        (pb.RecordFeedbackRequest(generation_id="gen-1", rating=6), ACME, "FIELD_INVALID"),
        (pb.RecordFeedbackRequest(rating=6), ACME, "FIELD_INVALID"),
    ],
)
async def test_feedback_on_nothing_and_no_rating_are_refused(
    request_: Any, metadata: Any, reason: str
) -> None:
    router = Router()
    async with routed(router) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.RecordFeedback(request_, metadata=metadata)
    error = MeshError.from_rpc(caught.value, "usage")
    assert error.name == reason
    assert error.field in ("generation_id", "rating")
    assert not router.heard


async def test_a_router_that_is_away_is_named(channel: grpc.aio.Channel) -> None:
    stub: Any = usage_pb2_grpc.UsageServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RecordFeedback(pb.RecordFeedbackRequest(generation_id="g", rating=5), timeout=5)
    error = MeshError.from_rpc(caught.value, "usage")
    assert error.name == "DEPENDENCY_UNAVAILABLE"
    assert "the router" in error.message
