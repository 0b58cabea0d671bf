"""The last part of a picture's way: sized, checked, scored, sealed, stored. Each picture goes it alone and fails alone."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import structlog
from google.protobuf.message import Message

from scrollintel.visual.v1 import errors_pb2, events_pb2
from scrollintel.visual.v1.assets_pb2 import Asset, CreateAssetRequest
from scrollintel.visual.v1.events_pb2 import Output, Scored, Stage, Step
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.quality_pb2 import QualityMetrics
from scrollintel.visual.v1.safety_pb2 import CheckImageResponse, SealMediaRequest, SealMediaResponse
from scrollintel.visual.v1.spec_pb2 import EnhancementSpec
from services.orchestrator import scores, seals, verdicts
from services.orchestrator.steps import Steps
from services.runtime.errors import MeshError

DELIVERED_AT_ONCE = 2  # pictures of one request: more would only queue up in front of the same models

log = structlog.get_logger()

Emit = Callable[[Message], None]  # records one moment of the generation; never waits


@dataclass(frozen=True)
class Picture:
    """What is known of a picture before it is delivered."""

    generation_id: str
    index: int
    prompt: str  # the caller's own words, which it is scored against
    seed: int | None
    metadata: Mapping[str, str]
    source: MediaRef | None = None  # what it was restored from


@dataclass
class Progress:
    """Counts, for each stage, how many of `total` pictures are through, and tells."""

    total: int
    emit: Emit
    _done: dict[Stage.ValueType, set[int]] = field(default_factory=lambda: defaultdict(set))

    def done(self, stage: Stage.ValueType, index: int) -> None:
        """Count a picture through `stage`; one that was drawn again counts once."""
        done = self._done[stage]
        if index in done:
            return
        done.add(index)
        self.emit(Step(stage=stage, k=len(done), n=self.total))


async def deliver(
    picture: Picture, media: MediaRef, enlargement: EnhancementSpec | None, steps: Steps, progress: Progress
) -> Asset:
    """Bring `media` to its size where `enlargement` asks for it, check it, score it, seal it and store it.

    Nothing of the finished picture is told before it passed the safety check (previews, which are asked for, are not
    checked), which is run beside the scoring: both are slow, and few pictures are refused. What is told of is the sealed
    picture: one that cannot be sealed is not delivered. A picture that cannot be scored is delivered without the scores;
    every other failure raises MeshError.
    """
    media = await sized(picture, media, enlargement, steps, progress)
    async with alongside(scored(picture, media, steps)) as scoring:
        checked = await check(picture, media, steps, progress)
        return await finish(picture, media, checked, scoring, steps, progress)


async def sized(
    picture: Picture,
    media: MediaRef,
    enlargement: EnhancementSpec | None,
    steps: Steps,
    progress: Progress,
) -> MediaRef:
    """Return a picture at the size that was asked for."""
    if enlargement is None:
        return media
    media = await restore(enlargement, steps)
    progress.done(events_pb2.STAGE_UPSCALE, picture.index)
    return media


async def finish(
    picture: Picture,
    media: MediaRef,
    checked: CheckImageResponse,
    scoring: Awaitable[QualityMetrics],
    steps: Steps,
    progress: Progress,
) -> Asset:
    """Seal and store a picture that passed its check, and tell of it."""
    sealed = await _sealed(picture, media, steps)
    progress.emit(Output(index=picture.index, media=sealed.media, seed=picture.seed))
    metrics = scores.with_safety(await scoring, checked)
    progress.emit(Scored(index=picture.index, metrics=metrics))
    progress.done(events_pb2.STAGE_SCORE, picture.index)
    asset = await steps.create_asset(
        CreateAssetRequest(
            id=f"{picture.generation_id}-{picture.index}",
            media=sealed.media,
            generation_id=picture.generation_id,
            quality=metrics,
            seed=picture.seed,
            metadata={**picture.metadata, "watermark": sealed.watermark},
        )
    )
    progress.done(events_pb2.STAGE_STORE, picture.index)
    return asset


async def restore(spec: EnhancementSpec, steps: Steps, emit: Emit | None = None) -> MediaRef:
    """Run an enhancement and return the restored picture; its progress goes to `emit`.

    Raises MeshError MODEL_FAILED when the stream ends without a picture.
    """
    restored: MediaRef | None = None
    async with aclosing(steps.enhance_image(spec)) as events:
        async for event in events:
            match event.WhichOneof("event"):
                case "step" if emit is not None:
                    emit(event.step)
                case "image":
                    restored = event.image
    if restored is None:
        raise MeshError(
            errors_pb2.ERROR_REASON_MODEL_FAILED, "the enhancement ended without a picture; try again"
        )
    return restored


async def check(picture: Picture, media: MediaRef, steps: Steps, progress: Progress) -> CheckImageResponse:
    """Return how a picture was judged that passes the safety check.

    Raises MeshError OUTPUT_UNSAFE when the policy refuses it, and SAFETY_UNCHECKED when it could not be judged.
    """
    try:
        checked = await steps.check_image(media)
    except MeshError as error:
        raise verdicts.as_unchecked(error, "the picture") from error
    verdicts.require_pass(checked.verdict, errors_pb2.ERROR_REASON_OUTPUT_UNSAFE, "the picture")
    progress.done(events_pb2.STAGE_CHECK, picture.index)
    return checked


async def _sealed(picture: Picture, media: MediaRef, steps: Steps) -> SealMediaResponse:
    request = SealMediaRequest(
        media=media,
        generation_id=picture.generation_id,
        model=picture.metadata.get("model", ""),
        source=picture.source,
        work=seals.work_of(picture.metadata),
        description=seals.description(picture.metadata),
    )
    try:
        return await steps.seal_media(request)
    except MeshError as error:
        log.warning("not sealed", generation=picture.generation_id, index=picture.index, reason=error.name)
        raise seals.as_unsealed(error) from error


async def scored(picture: Picture, media: MediaRef, steps: Steps, *, remember: bool = True) -> QualityMetrics:
    """Return a picture's scores; none where it cannot be scored, for it is still a picture."""
    model = picture.metadata.get("model", "")
    try:
        return await steps.score_image(media, picture.prompt, model, remember=remember)
    except MeshError as error:
        log.warning("not scored", generation=picture.generation_id, index=picture.index, reason=error.name)
        return QualityMetrics()


@asynccontextmanager
async def alongside(
    work: Coroutine[None, None, QualityMetrics],
) -> AsyncIterator[asyncio.Task[QualityMetrics]]:
    """Run `work` beside the body; what is left of it when the body ends is cancelled and waited for."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
