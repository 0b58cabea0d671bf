"""Does the steps by calling the servers of the mesh."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import grpc

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.assets_pb2 import Asset, CreateAssetRequest
from scrollintel.visual.v1.assets_pb2_grpc import AssetServiceStub
from scrollintel.visual.v1.enhance_pb2 import EnhanceImageRequest, EnhanceImageResponse
from scrollintel.visual.v1.enhance_pb2_grpc import EnhanceServiceStub
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.prompt_pb2 import EnhancePromptRequest, EnhancePromptResponse
from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceStub
from scrollintel.visual.v1.quality_pb2 import QualityMetrics, ScoreImageRequest
from scrollintel.visual.v1.quality_pb2_grpc import QualityServiceStub
from scrollintel.visual.v1.router_pb2 import (
    ExecuteRequest,
    ExecuteResponse,
    ReportOutcomeRequest,
    RouteRequest,
    RouteResponse,
)
from scrollintel.visual.v1.router_pb2_grpc import RouterServiceStub
from scrollintel.visual.v1.safety_pb2 import (
    CheckImageRequest,
    CheckImageResponse,
    CheckPromptRequest,
    CheckPromptResponse,
    SealMediaRequest,
    SealMediaResponse,
)
from scrollintel.visual.v1.safety_pb2_grpc import SafetyServiceStub
from scrollintel.visual.v1.spec_pb2 import EnhancementSpec, ImageSpec
from services.orchestrator.reports import Reports
from services.orchestrator.settings import Settings
from services.runtime.channels import connect
from services.runtime.deadline import MARGIN_SECONDS, budget, remaining
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError, calling

# What a server may answer without the generation itself being late or cancelled: the fault is then that server's.
ANOTHERS = frozenset({errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, errors_pb2.ERROR_REASON_CANCELLED})


@dataclass(frozen=True)
class Channels:
    """A channel to each server that the orchestrator calls."""

    prompt: grpc.aio.Channel
    safety: grpc.aio.Channel
    router: grpc.aio.Channel
    enhance: grpc.aio.Channel
    quality: grpc.aio.Channel
    assets: grpc.aio.Channel


@asynccontextmanager
async def channels(settings: Settings) -> AsyncIterator[Channels]:
    """Open the channels; they close with the body."""
    async with AsyncExitStack() as stack:
        names = tuple(Channels.__dataclass_fields__)
        opened = {
            name: await stack.enter_async_context(connect(getattr(settings, f"{name}_address")))
            for name in names
        }
        yield Channels(**opened)


class MeshSteps:
    """The steps, each by one call with its own time limit and never more than the generation has left."""

    def __init__(self, channels: Channels, reports: Reports, settings: Settings) -> None:
        self._prompt = PromptServiceStub(channels.prompt)
        self._safety = SafetyServiceStub(channels.safety)
        self._router = RouterServiceStub(channels.router)
        self._enhance = EnhanceServiceStub(channels.enhance)
        self._quality = QualityServiceStub(channels.quality)
        self._assets = AssetServiceStub(channels.assets)
        self._reports = reports
        self._limits = settings

    async def check_prompt(self, prompt: str, negative_prompt: str) -> CheckPromptResponse:
        """Judge a prompt, and say what to use instead where the policy takes something out of it."""
        request = CheckPromptRequest(prompt=prompt, negative_prompt=negative_prompt)
        with reaching("the safety server"):
            return await self._safety.CheckPrompt(request, timeout=budget(self._limits.check_seconds))

    async def enhance_prompt(self, image: ImageSpec) -> EnhancePromptResponse:
        """Rewrite a prompt."""
        request = EnhancePromptRequest(
            prompt=image.prompt,
            negative_prompt=image.negative_prompt,
            style=image.style,
            level=image.enhancement_level,
            model=image.model_preference,
            seed=image.seed if image.HasField("seed") else None,
        )
        with reaching("the prompt server"):
            return await self._prompt.EnhancePrompt(request, timeout=budget(self._limits.prompt_seconds))

    async def route(self, request: RouteRequest) -> RouteResponse:
        """Rank those who could draw."""
        with reaching("the router"):
            return await self._router.Route(request, timeout=budget(self._limits.route_seconds))

    async def execute(self, request: ExecuteRequest) -> AsyncGenerator[ExecuteResponse, None]:
        """Draw; closing the generator stops the backend before its next step."""
        with reaching("the router"):
            call = self._router.Execute(request, timeout=budget(self._limits.generation_seconds))
            try:
                async for event in call:
                    yield event
            finally:
                call.cancel()

    async def enhance_image(self, spec: EnhancementSpec) -> AsyncGenerator[EnhanceImageResponse, None]:
        """Restore a picture; closing the generator stops the work."""
        request = EnhanceImageRequest(spec=spec)
        with reaching("the enhance server"):
            call = self._enhance.EnhanceImage(request, timeout=budget(self._limits.enhance_seconds))
            try:
                async for event in call:
                    yield event
            finally:
                call.cancel()

    async def check_image(self, image: MediaRef) -> CheckImageResponse:
        """Judge a picture."""
        request = CheckImageRequest(image=image)
        with reaching("the safety server"):
            return await self._safety.CheckImage(request, timeout=budget(self._limits.check_seconds))

    async def score_image(
        self, image: MediaRef, prompt: str, model: str, *, remember: bool = True
    ) -> QualityMetrics:
        """Score a picture."""
        request = ScoreImageRequest(image=image, prompt=prompt, remember=remember, model=model)
        with reaching("the quality server"):
            answer = await self._quality.ScoreImage(request, timeout=budget(self._limits.score_seconds))
        return answer.metrics

    async def seal_media(self, request: SealMediaRequest) -> SealMediaResponse:
        """Mark and sign a finished picture."""
        with reaching("the safety server"):
            return await self._safety.SealMedia(request, timeout=budget(self._limits.seal_seconds))

    def report_outcome(self, request: ReportOutcomeRequest) -> None:
        """Tell the router how a picture was judged, behind the generation's back."""
        self._reports.send(request)

    async def create_asset(self, request: CreateAssetRequest) -> Asset:
        """Record a picture as an asset."""
        with reaching("the assets server"):
            answer = await self._assets.CreateAsset(request, timeout=budget(self._limits.store_seconds))
        return answer.asset


@contextmanager
def reaching(server: str) -> Iterator[None]:
    """Turn a server's answer into MeshError; its being late or stopping is not the generation's lateness or end."""
    try:
        with calling(server):
            yield
    except MeshError as error:
        if error.reason not in ANOTHERS or _time_is_up():
            raise
        raise MeshError(
            errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
            f"{server} did not answer in time; try again shortly",
            retry_after=DEFAULT_RETRY_SECONDS,
        ) from error


def _time_is_up() -> bool:
    left = remaining()
    return left is not None and left <= 2 * MARGIN_SECONDS
