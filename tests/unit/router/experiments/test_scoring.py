"""What shadows draw is scored by the quality server, over the wire and from the store."""

from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
import pytest_asyncio

from router.backends.protocol import Output, Stored
from router.experiments.scoring import QualityScorer
from scrollintel.visual.v1 import errors_pb2, quality_pb2, quality_pb2_grpc
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.images import decode

PICTURE = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)


class Brightness(quality_pb2_grpc.QualityServiceServicer):
    """Scores by a picture's mean level; measures nothing where the prompt is `nothing`."""

    def __init__(self, blobs: BlobStore) -> None:
        self.blobs = blobs

    async def ScoreImage(self, request, context):
        pixels = await decode(await self.blobs.get(request.image))
        assert pixels.shape[:2] == (request.image.height, request.image.width)
        metrics = quality_pb2.QualityMetrics()
        if request.prompt != "nothing":
            metrics.overall.value = float(pixels.mean() / 255)
        return quality_pb2.ScoreImageResponse(metrics=metrics)


@pytest_asyncio.fixture
async def scorer(tmp_path) -> AsyncIterator[QualityScorer]:
    server, blobs = grpc.aio.server(), BlobStore.open("", tmp_path)
    quality_pb2_grpc.add_QualityServiceServicer_to_server(Brightness(blobs), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}") as channel:
            yield QualityScorer(channel, blobs)
    finally:
        await server.stop(None)


async def test_a_picture_is_stored_and_scored(scorer):
    expected = pytest.approx(PICTURE.mean() / 255)
    assert await scorer.score(Output(0, 7, PICTURE), "a red apple") == expected
    media = await scorer._put(Output(0, 7, PICTURE))
    assert await scorer.score(Stored(0, -1, media), "a red apple") == expected


async def test_what_cannot_be_measured_has_no_score(scorer):
    assert await scorer.score(Output(0, 7, PICTURE), "nothing") is None
    assert await scorer.score(Stored(0, -1, MediaRef(media_type="video/mp4")), "a red apple") is None


async def test_a_server_that_is_away_is_told_as_such(tmp_path):
    async with connect("127.0.0.1:1") as channel:
        with pytest.raises(MeshError) as caught:
            await QualityScorer(channel, BlobStore.open("", tmp_path)).score(
                Output(0, 7, PICTURE), "a red apple"
            )
    assert caught.value.reason == errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE
