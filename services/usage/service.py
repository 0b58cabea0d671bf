"""UsageService: takes what users thought. The runtime answers UNIMPLEMENTED for the rpcs that are left out here."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from scrollintel.visual.v1 import errors_pb2, usage_pb2, usage_pb2_grpc
from scrollintel.visual.v1.router_pb2 import ReportOutcomeRequest
from scrollintel.visual.v1.router_pb2_grpc import RouterServiceStub
from scrollintel.visual.v1.usage_pb2 import RecordFeedbackRequest, RecordFeedbackResponse
from services.runtime import identity
from services.runtime.channels import connect
from services.runtime.deadline import budget
from services.runtime.errors import MeshError, calling
from services.runtime.server import ServerSpec
from services.usage.ratings import Rated, Ratings
from services.usage.settings import Settings

if TYPE_CHECKING:  # a name of the stubs' types alone
    from scrollintel.visual.v1.router_pb2_grpc import RouterServiceAsyncStub

UNKNOWN = "no generation of this id has delivered anything to this tenant, or it was forgotten"

Context = grpc.aio.ServicerContext[Any, Any]


class UsageService(usage_pb2_grpc.UsageServiceServicer):
    """Takes feedback to where it is learned from; the router's database is the one record of it."""

    def __init__(self, router: grpc.aio.Channel, ratings: Ratings, settings: Settings) -> None:
        self._router: RouterServiceAsyncStub = RouterServiceStub(router)
        self._ratings = ratings
        self._settings = settings

    async def RecordFeedback(
        self, request: RecordFeedbackRequest, context: Context
    ) -> RecordFeedbackResponse:
        """Tell the router what a user thought of a generation.

        A rating that is sent again counts once, whatever the request is called (see `Ratings`); another one of the same
        generation is told as well. Whose generation it is, the router knows by the tenant that the call carries.
        """
        report = ReportOutcomeRequest(request_id=request.generation_id, rating=request.rating)

        async def tell() -> None:
            with naming_the_generation(), calling("the router"):
                await self._router.ReportOutcome(report, timeout=budget(self._settings.report_seconds))

        rated = Rated(identity.current().tenant, request.generation_id)
        await self._ratings.rate(rated, request.rating, tell)
        return RecordFeedbackResponse()


@contextmanager
def naming_the_generation() -> Iterator[None]:
    """Tell what is not found by the caller's own field: the router speaks of its request."""
    try:
        yield
    except MeshError as error:
        if error.reason == errors_pb2.ERROR_REASON_NOT_FOUND:
            error.field = "generation_id"
            error.violations = ()
            error.message = f"{error.field}: {UNKNOWN}"
        raise


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[UsageService]:
    """Make the servicer over a channel to the router, which closes with the body."""
    async with connect(settings.router_address) as router, Ratings() as ratings:
        yield UsageService(router, ratings, settings)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the usage server."""
    return ServerSpec(
        name="usage",
        settings=settings or Settings(),
        services=[usage_pb2.DESCRIPTOR.services_by_name["UsageService"]],
        build=build,
        register=usage_pb2_grpc.add_UsageServiceServicer_to_server,
    )
