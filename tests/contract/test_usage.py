"""UsageService is there, healthy, and says that it serves nothing yet."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scrollintel.visual.v1 import usage_pb2 as pb
from scrollintel.visual.v1 import usage_pb2_grpc
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.server import serve
from services.usage.service import spec
from services.usage.settings import Settings

RECORD = pb.UsageRecord(request_id="r", tenant="local", model="m")


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with serve(spec(Settings(home=tmp_path))) as server, connect(server.address) as channel:
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
        ("RecordFeedback", pb.RecordFeedbackRequest(generation_id="g", rating=5)),
    ],
)
async def test_every_rpc_is_declared_and_not_served(
    channel: grpc.aio.Channel, rpc: str, request_: object
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(usage_pb2_grpc.UsageServiceStub(channel), rpc)(request_)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    error = MeshError.from_rpc(caught.value, "usage")
    assert error.name == "UNIMPLEMENTED"
    assert rpc in error.message
