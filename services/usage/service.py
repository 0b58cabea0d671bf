"""UsageService: declared, and not served yet. The runtime answers UNIMPLEMENTED for every rpc left out here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scrollintel.visual.v1 import usage_pb2, usage_pb2_grpc
from services.runtime.server import ServerSpec
from services.usage.settings import Settings


class UsageService(usage_pb2_grpc.UsageServiceServicer):
    """Holds the place of the cost ledger, so that the mesh has its final shape."""


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[UsageService]:
    """Make the servicer; it owns nothing."""
    yield UsageService()


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the usage server."""
    return ServerSpec(
        name="usage",
        settings=settings or Settings(),
        services=[usage_pb2.DESCRIPTOR.services_by_name["UsageService"]],
        build=build,
        register=usage_pb2_grpc.add_UsageServiceServicer_to_server,
    )
