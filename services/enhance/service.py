"""EnhanceService: reads a stored picture, runs the planned passes, stores the result."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import numpy as np

from scrollintel.visual.v1 import enhance_pb2, enhance_pb2_grpc
from scrollintel.visual.v1.events_pb2 import STAGE_UPSCALE, Step
from services.enhance.canvas import extend
from services.enhance.operations import plan_operations
from services.enhance.pixels import Pixels, resize, split_alpha
from services.enhance.plan import MODEL_FACTOR, Enlarge, Extend, Pass, Resize, Size
from services.enhance.settings import Settings
from services.runtime import images, telemetry
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

MODEL = "upscale_realesrgan"
PICTURE_SECONDS = 2.0  # first estimate of one picture, for those that wait: 64 × 64 to 1024 × 1024
LEAST_MODEL_SECONDS = 30.0


class EnhanceService(enhance_pb2_grpc.EnhanceServiceServicer):
    """Enlarges stored pictures."""

    def __init__(self, blobs: BlobStore, triton: TritonClient, settings: Settings) -> None:
        self._blobs = blobs
        self._triton = triton
        self._room = Admission(settings.running, settings.waiting, PICTURE_SECONDS)
        self._seconds_per_megapixel = settings.seconds_per_megapixel

    async def EnhanceImage(
        self, request: enhance_pb2.EnhanceImageRequest, context: Context
    ) -> AsyncIterator[enhance_pb2.EnhanceImageResponse]:
        """Plan everything, then do it; leaving the stream cancels the pass that runs on Triton."""
        async with self._room.enter():
            data = await self._blobs.get(request.spec.source)
            _, width, height = await asyncio.to_thread(images.media_type_of, data)
            passes = plan_operations(Size(width, height), request.spec.operations)
            has_alpha = await asyncio.to_thread(images.has_alpha, data)
            picture = await (images.decode_rgba if has_alpha else images.decode)(data)
            for index, step in enumerate(passes, start=1):
                with telemetry.span(f"enhance {type(step).__name__.lower()}", width=width, height=height):
                    picture = await self._run(step, picture)
                done = Step(stage=STAGE_UPSCALE, k=index, n=len(passes))
                yield enhance_pb2.EnhanceImageResponse(step=done)
            height, width = picture.shape[:2]
            encoded = await images.encode_png(picture)
            media = await self._blobs.put(encoded, media_type="image/png", width=width, height=height)
        yield enhance_pb2.EnhanceImageResponse(image=media)

    async def _run(self, step: Pass, picture: Pixels) -> Pixels:
        match step:
            case Enlarge(variant):
                return await self._enlarge(picture, variant)
            case Resize(size):
                return await asyncio.to_thread(resize, picture, size)
            case Extend(canvas):
                return await asyncio.to_thread(extend, picture, canvas.width, canvas.height)

    async def _enlarge(self, picture: Pixels, variant: str) -> Pixels:
        """Run the model over the colours; the alpha, which is no picture, is resampled."""
        if picture.shape[2] == 3:
            return await self._infer(picture, variant)
        colour, alpha = await asyncio.to_thread(split_alpha, picture)
        larger = Size(alpha.shape[1] * MODEL_FACTOR, alpha.shape[0] * MODEL_FACTOR)
        enlarged = await self._infer(colour, variant)
        resized = await asyncio.to_thread(resize, alpha[..., None], larger)
        return await asyncio.to_thread(lambda: np.dstack([enlarged, resized]))

    async def _infer(self, picture: Pixels, variant: str) -> Pixels:
        megapixels = picture.shape[0] * picture.shape[1] / 1e6
        outputs = await self._triton.infer(
            MODEL,
            {"image": picture, "variant": np.array([variant.encode()], dtype=object)},
            timeout=max(LEAST_MODEL_SECONDS, megapixels * self._seconds_per_megapixel),
        )
        return np.asarray(outputs["image"], np.uint8)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[EnhanceService]:
    """Open the store and the connection to Triton, and serve with them."""
    async with TritonClient(settings.triton_address) as triton:
        yield EnhanceService(BlobStore.open(settings.blob_url, settings.home), triton, settings)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the enhancement server."""
    return ServerSpec(
        name="enhance",
        settings=settings or Settings(),
        services=[enhance_pb2.DESCRIPTOR.services_by_name["EnhanceService"]],
        build=build,
        register=enhance_pb2_grpc.add_EnhanceServiceServicer_to_server,
    )
