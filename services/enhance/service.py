"""EnhanceService: reads a stored picture, runs the planned passes, stores the result."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc

from scrollintel.visual.v1 import enhance_pb2, enhance_pb2_grpc
from scrollintel.visual.v1.events_pb2 import Step
from services.enhance.availability import Availability
from services.enhance.operations import Operation, plan_operations
from services.enhance.passes import Passes
from services.enhance.pixels import Pixels
from services.enhance.plan import Size
from services.enhance.settings import Settings
from services.runtime import images, telemetry
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.models import Models
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

PICTURE_SECONDS = 2.0  # first estimate of one picture, for those that wait: 64 × 64 to 1024 × 1024
NOTHING_TO_DO = "nothing to do"


class EnhanceService(enhance_pb2_grpc.EnhanceServiceServicer):
    """Restores stored pictures."""

    def __init__(self, blobs: BlobStore, passes: Passes, settings: Settings) -> None:
        self._blobs = blobs
        self._passes = passes
        self._room = Admission(settings.running, settings.waiting, PICTURE_SECONDS)

    async def EnhanceImage(
        self, request: enhance_pb2.EnhanceImageRequest, context: Context
    ) -> AsyncIterator[enhance_pb2.EnhanceImageResponse]:
        """Plan everything, then do it; leaving the stream cancels the pass that runs on Triton."""
        async with self._room.enter():
            picture = await images.decode_as_shown(await self._blobs.get(request.spec.source))
            size = Size(picture.shape[1], picture.shape[0])
            operations = plan_operations(size, request.spec.operations)
            await self._passes.require([step for operation in operations for step in operation.passes])
            for operation in operations:
                async for done, result in self._carry_out(operation, picture):
                    picture = result
                    yield enhance_pb2.EnhanceImageResponse(step=done)
            height, width = picture.shape[:2]
            encoded = await images.encode_png(picture)
            media = await self._blobs.put(encoded, media_type="image/png", width=width, height=height)
        yield enhance_pb2.EnhanceImageResponse(image=media)

    async def _carry_out(self, operation: Operation, picture: Pixels) -> AsyncIterator[tuple[Step, Pixels]]:
        """Yield each pass of an operation as it is done, with the picture after it; the last step has k = n."""
        passes = operation.passes
        if not passes:
            yield Step(stage=operation.stage, k=1, n=1, note=NOTHING_TO_DO), picture
        for k, step in enumerate(passes, start=1):
            height, width = picture.shape[:2]
            with telemetry.span(f"enhance {type(step).__name__.lower()}", width=width, height=height) as span:
                picture, note = await self._passes.run(step, picture)
                span.set_attribute("note", note)
            yield Step(stage=operation.stage, k=k, n=len(passes), note=note), picture


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[EnhanceService]:
    """Open the store and the connections to Triton and to the models server, and serve with them."""
    async with TritonClient(settings.triton_address) as triton, connect(settings.models_address) as channel:
        passes = Passes(triton, Models(channel), Availability(channel), settings)
        yield EnhanceService(BlobStore.open(settings.blob_url, settings.home), passes, settings)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the enhancement server."""
    return ServerSpec(
        name="enhance",
        settings=settings or Settings(),
        services=[enhance_pb2.DESCRIPTOR.services_by_name["EnhanceService"]],
        build=build,
        register=enhance_pb2_grpc.add_EnhanceServiceServicer_to_server,
    )
