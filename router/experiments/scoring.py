"""Asks the quality server how good a picture is that no caller gets."""

from typing import TYPE_CHECKING

import grpc

from router.backends.protocol import Output, Stored
from scrollintel.visual.v1 import quality_pb2, quality_pb2_grpc
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime.blobs import BlobStore
from services.runtime.deadline import budget
from services.runtime.errors import calling
from services.runtime.images import encode_png

if TYPE_CHECKING:
    from scrollintel.visual.v1.quality_pb2_grpc import QualityServiceAsyncStub

SCORE_SECONDS = 30.0


class QualityScorer:
    """Scores pictures over a channel that stays its owner's; they are stored first, for that server reads them there."""

    def __init__(self, channel: grpc.aio.Channel, blobs: BlobStore) -> None:
        self._stub: QualityServiceAsyncStub = quality_pb2_grpc.QualityServiceStub(channel)
        self._blobs = blobs

    async def score(self, picture: Output | Stored, prompt: str) -> float | None:
        """Return the overall quality in [0, 1]; None for a video, and where nothing could be measured.

        Raises MeshError, among them what the quality server answers.
        """
        media = picture.media if isinstance(picture, Stored) else await self._put(picture)
        if not media.media_type.startswith("image/"):
            return None
        request = quality_pb2.ScoreImageRequest(image=media, prompt=prompt)
        with calling("the quality server"):
            answer = await self._stub.ScoreImage(request, timeout=budget(SCORE_SECONDS))
        metrics = answer.metrics
        return metrics.overall.value if metrics.HasField("overall") else None

    async def _put(self, picture: Output) -> MediaRef:
        height, width = picture.pixels.shape[:2]
        png = await encode_png(picture.pixels)
        return await self._blobs.put(png, media_type="image/png", width=width, height=height)
