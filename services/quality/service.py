"""QualityService: reads stored pictures, measures them in threads, asks the matcher, answers with what there is."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, TypeAlias

import grpc
import structlog

from scrollintel.visual.v1 import errors_pb2, quality_pb2, quality_pb2_grpc
from services.quality.comparison import compare, refuse
from services.quality.history import History, Picture, open_history
from services.quality.matcher import NAME, Matcher, Seen
from services.quality.measure import PARTS, Learnt, Scores, look
from services.quality.metrics.luminance import Pixels
from services.quality.scoring import Measured, overall
from services.quality.settings import Settings
from services.quality.uniqueness import uniqueness
from services.runtime import identity, images
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore, digest_of
from services.runtime.deadline import budget
from services.runtime.errors import MeshError
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

PICTURE_SECONDS = 0.2  # first estimate of one picture, for those that wait
HISTORY_SECONDS = 1.0  # a score is not worth a longer wait

log = structlog.get_logger()


class QualityService(quality_pb2_grpc.QualityServiceServicer):
    """Scores pictures; `threads` measures as many at one time as `room` lets in."""

    def __init__(
        self,
        blobs: BlobStore,
        matcher: Matcher,
        history: History,
        learnt: Learnt,
        room: Admission,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._blobs = blobs
        self._matcher = matcher
        self._history = history
        self._learnt = learnt
        self._room = room
        self._threads = threads

    async def ScoreImage(
        self, request: quality_pb2.ScoreImageRequest, context: Context
    ) -> quality_pb2.ScoreImageResponse:
        """Measure the picture and ask the matcher at the same time."""
        async with self._room.enter():
            picture = await images.decode(await self._blobs.get(request.image))
            seen, scores = await asyncio.gather(
                self._matcher.look(picture, request.prompt), self._measure(picture)
            )
            if seen is not None:
                scores |= await self._judge(seen, request)
        together = overall(scores)
        if together is not None:
            scores["overall"] = together
        named = {name: quality_pb2.Score(value=one.value, measured_by=one.by) for name, one in scores.items()}
        return quality_pb2.ScoreImageResponse(metrics=quality_pb2.QualityMetrics(**named))

    async def _judge(self, seen: Seen, request: quality_pb2.ScoreImageRequest) -> Scores:
        """Return what the matcher's view gives: agreement with the prompt, distance from the tenant's earlier results."""
        scores = {} if seen.adherence is None else {"prompt_adherence": seen.adherence}
        picture = Picture(identity.current().tenant, seen.space, digest_of(request.image))
        try:
            async with asyncio.timeout(budget(HISTORY_SECONDS)):
                earlier = await self._history.earlier(picture)
                if request.remember:
                    await self._history.keep(picture, seen.embedding)
        except (MeshError, TimeoutError) as error:
            log.warning("uniqueness not measured", reason=type(error).__name__)
            return scores
        unlike = uniqueness(seen.embedding, earlier)
        return scores if unlike is None else {**scores, "uniqueness": Measured(unlike, NAME)}

    async def _measure(self, picture: Pixels) -> Scores:
        """Return all scores of [H, W, 3] RGB but those that models give, its parts measured side by side."""
        loop = asyncio.get_running_loop()
        view = await loop.run_in_executor(self._threads, look, picture)
        parts = await asyncio.gather(
            *(loop.run_in_executor(self._threads, part, view, self._learnt) for part in PARTS)
        )
        return {name: score for part in parts for name, score in part.items()}

    async def CompareImages(
        self, request: quality_pb2.CompareImagesRequest, context: Context
    ) -> quality_pb2.CompareImagesResponse:
        """Compare two pictures whose sizes, read before anything is decoded, allow it."""
        async with self._room.enter():
            files = await asyncio.gather(
                self._blobs.get(request.reference), self._blobs.get(request.candidate)
            )
            reference, candidate = await asyncio.gather(
                *(asyncio.to_thread(images.media_type_of, data) for data in files)
            )
            if rule := refuse(reference[1:], candidate[1:]):
                raise MeshError(
                    errors_pb2.ERROR_REASON_FIELD_INVALID, f"candidate: {rule}", field="candidate"
                )
            one, other = [await images.decode(data) for data in files]
            loop = asyncio.get_running_loop()
            difference = await loop.run_in_executor(self._threads, compare, one, other)
        return quality_pb2.CompareImagesResponse(**asdict(difference))


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[QualityService]:
    """Load what measures, open the store and the connection to Triton, and serve with them."""
    learnt = await asyncio.to_thread(Learnt.load)
    room = Admission(settings.threads, settings.waiting, PICTURE_SECONDS)
    settings.home.mkdir(parents=True, exist_ok=True)
    async with TritonClient(settings.triton_address) as triton, open_history(settings.history_url) as history:
        matcher = Matcher(triton, settings.calibration_path)
        matcher.load()
        with ThreadPoolExecutor(settings.threads, "quality") as threads:
            blobs = BlobStore.open(settings.blob_url, settings.home)
            yield QualityService(blobs, matcher, history, learnt, room, threads)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the quality server."""
    return ServerSpec(
        name="quality",
        settings=settings or Settings(),
        services=[quality_pb2.DESCRIPTOR.services_by_name["QualityService"]],
        build=build,
        register=quality_pb2_grpc.add_QualityServiceServicer_to_server,
    )
