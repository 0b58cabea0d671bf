"""QualityService: reads pictures and frames, measures them in threads, asks the matcher, answers with what there is."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, TypeAlias

import grpc
import structlog

from scrollintel.visual.v1 import errors_pb2, quality_pb2, quality_pb2_grpc
from services.quality import figures
from services.quality.charts import Charts
from services.quality.comparison import compare, refuse
from services.quality.drift import Drift
from services.quality.history import History, Picture
from services.quality.matcher import NAME, Matcher, Seen
from services.quality.measure import PARTS, Learnt, Scores, look
from services.quality.metrics.luminance import Pixels
from services.quality.scoring import VIDEO_WEIGHTS, Measured, overall
from services.quality.settings import Settings
from services.quality.tables import open_tables
from services.quality.uniqueness import uniqueness
from services.quality.video import Video
from services.runtime import identity, images
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore, digest_of
from services.runtime.deadline import budget
from services.runtime.errors import MeshError
from services.runtime.frames import Frames, Limits
from services.runtime.server import ServerSpec
from services.runtime.streams import Patience, arriving
from services.runtime.triton import TritonClient

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

PICTURE_SECONDS = 0.2  # first estimate of one picture, for those that wait
VIDEO_SECONDS = 5.0  # and of one video
FRAME_LIMITS = Limits(frames=3600, pixels=4096 * 2304)  # two and a half minutes at 24 a second
SHOWN_EVERY = 24  # frames from one that is shown to the matcher to the next
DATABASE_SECONDS = 1.0  # a score is not worth a longer wait

log = structlog.get_logger()


class QualityService(quality_pb2_grpc.QualityServiceServicer):
    """Scores pictures and videos and compares pictures; `threads` measures what the rooms let in."""

    def __init__(
        self,
        blobs: BlobStore,
        matcher: Matcher,
        history: History,
        charts: Charts,
        drift: Drift,
        learnt: Learnt,
        threads: ThreadPoolExecutor,
        settings: Settings,
    ) -> None:
        self._blobs = blobs
        self._matcher = matcher
        self._history = history
        self._charts = charts
        self._drift = drift
        self._learnt = learnt
        self._threads = threads
        self._room = Admission(settings.threads, settings.waiting, PICTURE_SECONDS)
        self._videos = Admission(settings.videos, settings.videos_waiting, VIDEO_SECONDS)
        self._patience = Patience(settings.idle_seconds, settings.trickle_seconds)

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
        metrics = _told(scores, overall(scores))
        if request.model:
            await self._follow(request.model, metrics)
        return quality_pb2.ScoreImageResponse(metrics=metrics)

    async def _follow(self, model: str, metrics: quality_pb2.QualityMetrics) -> None:
        """Draw a picture's scores into its model's charts; that they cannot be saved costs nobody a score."""
        values = {field.name: score.value for field, score in metrics.ListFields()}
        changes = list(self._drift.add(model, values))
        for change in changes:
            figures.tell(change)
        try:
            async with asyncio.timeout(budget(DATABASE_SECONDS)):
                await self._charts.save(changes)
        except (MeshError, TimeoutError) as error:
            log.warning("charts not saved", reason=type(error).__name__)

    async def _judge(self, seen: Seen, request: quality_pb2.ScoreImageRequest) -> Scores:
        """Return what the matcher's view gives: agreement with the prompt, distance from the tenant's earlier results."""
        scores = {} if seen.adherence is None else {"prompt_adherence": seen.adherence}
        picture = Picture(identity.current().tenant, seen.space, digest_of(request.image))
        try:
            async with asyncio.timeout(budget(DATABASE_SECONDS)):
                if request.remember:  # first: of two that come at one time, one then is before the other
                    await self._history.keep(picture, seen.embedding)
                earlier = await self._history.earlier(picture)
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

    async def ScoreVideo(
        self, request_iterator: AsyncIterator[quality_pb2.ScoreVideoRequest], context: Context
    ) -> quality_pb2.ScoreVideoResponse:
        """Measure frame by frame as they come; the next one is read when the last one is measured."""
        video, frames, prompt = Video(self._learnt), Frames(FRAME_LIMITS), ""
        async with self._videos.enter():
            async for message in arriving(request_iterator, "the video", self._patience):
                prompt = prompt or message.prompt
                picture = await frames.add(message.frame)
                if picture is not None:
                    await self._watch(video, picture, prompt if frames.count % SHOWN_EVERY == 1 else "")
            frames.end()
        scores = video.scores()
        return quality_pb2.ScoreVideoResponse(metrics=_told(scores, overall(scores, VIDEO_WEIGHTS)))

    async def _watch(self, video: Video, picture: Pixels, prompt: str) -> None:
        """Measure one more frame, and show it to the matcher when there is a prompt."""
        loop = asyncio.get_running_loop()
        seen, *_ = await asyncio.gather(
            self._matcher.look(picture, prompt) if prompt else asyncio.sleep(0),
            loop.run_in_executor(self._threads, video.move, picture),
            loop.run_in_executor(self._threads, video.judge, picture),
        )
        if seen is not None and seen.adherence is not None:
            video.adherence.append(seen.adherence)

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


def _told(scores: Scores, together: Measured | None) -> quality_pb2.QualityMetrics:
    """Return scores as they go over the wire, with what they come to."""
    whole = scores if together is None else {**scores, "overall": together}
    named = {name: quality_pb2.Score(value=one.value, measured_by=one.by) for name, one in whole.items()}
    return quality_pb2.QualityMetrics(**named)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[QualityService]:
    """Load what measures, open the store and the connection to Triton, and serve with them."""
    learnt = await asyncio.to_thread(Learnt.load)
    settings.home.mkdir(parents=True, exist_ok=True)
    async with TritonClient(settings.triton_address) as triton, open_tables(settings.tables_url) as database:
        charts = Charts(database)
        drift = await charts.load()
        matcher = Matcher(triton, settings.calibration_path)
        matcher.load()
        with ThreadPoolExecutor(settings.threads, "quality") as threads:
            blobs = BlobStore.open(settings.blob_url, settings.home)
            yield QualityService(blobs, matcher, History(database), charts, drift, learnt, threads, settings)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the quality server."""
    return ServerSpec(
        name="quality",
        settings=settings or Settings(),
        services=[quality_pb2.DESCRIPTOR.services_by_name["QualityService"]],
        build=build,
        register=quality_pb2_grpc.add_QualityServiceServicer_to_server,
    )
