"""A gRPC server that plays a script: what the client makes of the wire is under test, not the mesh."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_status import rpc_status

from scrollintel.visual.v1 import (
    assets_pb2,
    events_pb2,
    generation_pb2,
    generation_pb2_grpc,
    media_pb2,
    prompt_pb2,
    quality_pb2,
    router_pb2,
    safety_finding_pb2,
    usage_pb2,
)
from scrollintel.visual.v1.assets_pb2_grpc import AssetServiceServicer, add_AssetServiceServicer_to_server
from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceServicer, add_PromptServiceServicer_to_server
from scrollintel.visual.v1.router_pb2_grpc import RouterServiceServicer, add_RouterServiceServicer_to_server
from scrollintel.visual.v1.usage_pb2_grpc import UsageServiceServicer, add_UsageServiceServicer_to_server

# Red and green over blue and white, 2 × 2.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000002000000020802000000fdd49a730000"
    "001249444154789c63f8cfc0c000c20cff8100001fee05fb0bd9688b0000000049454e44ae426082"
)
DIGEST = "0" * 64


def status(code: grpc.StatusCode, message: str, reason: str, *details: Any) -> status_pb2.Status:
    """Return a status as a server of the mesh sends it."""
    answer = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain="visual.scrollintel")
    for detail in (info, *details):
        answer.details.add().Pack(detail)
    return answer


def event(sequence: int, **payload: Any) -> generation_pb2.GenerationEvent:
    """Return an event a hundredth of a second after the one before."""
    moment = Timestamp(seconds=1_700_000_000, nanos=sequence * 10_000_000)
    return generation_pb2.GenerationEvent(generation_id="g1", sequence=sequence, time=moment, **payload)


def whole_life(data: bytes = PNG, digest: str = DIGEST) -> list[generation_pb2.GenerationEvent]:
    """Return the events of a generation that goes well, one of each kind."""
    media = media_pb2.MediaRef(
        uri=f"blob:{digest}",
        sha256=digest,
        media_type="image/png",
        size_bytes=len(data),
        width=2,
        height=2,
        frames=1,
    )
    metrics = quality_pb2.QualityMetrics(
        overall=quality_pb2.Score(value=0.75, measured_by="mean/1"),
        sharpness=quality_pb2.Score(value=0.0, measured_by="laplacian/1"),
    )
    finding = safety_finding_pb2.SafetyFinding(
        category=safety_finding_pb2.SAFETY_CATEGORY_VIOLENCE,
        severity=2,
        action=safety_finding_pb2.SAFETY_ACTION_FLAG,
        checker="prompt-rules/1",
        evidence="sword",
    )
    chosen = events_pb2.Candidate(
        backend="triton/text_to_image_house",
        model="text_to_image_house",
        score=0.9,
        scores={"latency": 0.8},
        predicted_time=Duration(seconds=1, nanos=500_000_000),
    )
    refused = events_pb2.Candidate(backend="triton/sdxl", model="sdxl", refusal="it needs weights")
    asset = assets_pb2.Asset(
        id="g1-0",
        media=media,
        generation_id="g1",
        quality=metrics,
        seed=7,
        metadata={"prompt": "a cat", "model": "text_to_image_house", "seed": "7"},
    )
    result = generation_pb2.GenerationResult(
        id="g1",
        state=generation_pb2.GENERATION_STATE_SUCCEEDED,
        assets=[asset],
        quality=metrics,
        generation_time=Duration(seconds=1),
        model_used="text_to_image_house",
    )
    payloads: list[dict[str, Any]] = [
        {"queued": events_pb2.Queued(position=2, eta=Duration(seconds=3))},
        {"checked": events_pb2.Checked(findings=[finding], policy_version="2026-11")},
        {
            "prompt_enhanced": events_pb2.PromptEnhanced(
                original="a cat", enhanced="a cat, 3d icon", style="3d"
            )
        },
        {"routed": events_pb2.Routed(chosen=chosen, reasons=["it is the fastest"], runners_up=[refused])},
        {"step": events_pb2.Step(stage=events_pb2.STAGE_DRAW, k=1, n=2)},
        {"preview": events_pb2.Preview(index=0, image=data, media_type="image/png")},
        {"fallback": events_pb2.Fallback(to="triton/b", reason="a stopped", **{"from": "triton/a"})},
        {"step": events_pb2.Step(stage=events_pb2.STAGE_DRAW, k=2, n=2)},
        {"output": events_pb2.Output(index=0, media=media, seed=7)},
        {"scored": events_pb2.Scored(index=0, metrics=metrics)},
        {"completed": generation_pb2.Completed(result=result)},
    ]
    return [event(number, **payload) for number, payload in enumerate(payloads, 1)]


@dataclass
class Script(
    generation_pb2_grpc.GenerationServiceServicer,
    AssetServiceServicer,
    UsageServiceServicer,
    RouterServiceServicer,
    PromptServiceServicer,
):
    """What the server does: its events, then the refusal if there is one, then, if it hangs, nothing."""

    events: Sequence[generation_pb2.GenerationEvent] = ()
    compared: Sequence[tuple[str, generation_pb2.GenerationEvent]] = ()  # of several models
    backends: Sequence[router_pb2.Backend] = ()
    refusal: status_pb2.Status | None = None
    hangs: bool = False
    asset: bytes = PNG
    templates: Sequence[prompt_pb2.PromptTemplate] = ()  # one a page
    own_unavailable: bool = False
    requests: list[Any] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        self.requests.append(request)
        self.called.set()
        self.metadata = dict(context.invocation_metadata())
        try:
            for moment in self.events:
                yield generation_pb2.GenerateResponse(event=moment)
            if self.refusal:
                await context.abort_with_status(rpc_status.to_status(self.refusal))
            if self.hangs:
                await self.cancelled.wait()
                failed = generation_pb2.Failed(
                    status=status(grpc.StatusCode.CANCELLED, "the generation was cancelled", "CANCELLED")
                )
                yield generation_pb2.GenerateResponse(event=event(len(self.events) + 1, failed=failed))
        finally:
            self.closed.set()

    async def CompareModels(self, request: Any, context: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        self.requests.append(request)
        self.called.set()
        try:
            for model, moment in self.compared:
                yield generation_pb2.CompareModelsResponse(model=model, event=moment)
            if self.refusal:
                await context.abort_with_status(rpc_status.to_status(self.refusal))
            if self.hangs:
                await asyncio.sleep(60)
        finally:
            self.closed.set()

    async def ListBackends(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        return router_pb2.ListBackendsResponse(backends=self.backends)

    async def ListTemplates(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        self.requests.append(prompt_pb2.ListTemplatesRequest.FromString(request.SerializeToString()))
        page = int(request.page_token or 0)
        more = page + 1 < len(self.templates)
        return prompt_pb2.ListTemplatesResponse(
            templates=self.templates[page : page + 1],
            next_page_token=str(page + 1) if more else "",
            own_unavailable=self.own_unavailable,
        )

    async def ApplyTemplate(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        self.requests.append(request)
        if self.refusal:
            await context.abort_with_status(rpc_status.to_status(self.refusal))
        return prompt_pb2.ApplyTemplateResponse(prompt="a lemon cake", style="photographic")

    async def SuggestPrompts(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        self.requests.append(request)
        one = prompt_pb2.PromptSuggestion(prompt="a bat, moonlight", reason="lighting: moonlight")
        one.added["lighting"] = "moonlight"
        return prompt_pb2.SuggestPromptsResponse(prompts=[one.prompt], suggestions=[one])

    async def RecordFeedback(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        self.requests.append(request)
        if self.refusal:
            await context.abort_with_status(rpc_status.to_status(self.refusal))
        return usage_pb2.RecordFeedbackResponse()

    async def CancelGeneration(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        self.requests.append(request)
        self.cancelled.set()
        return generation_pb2.CancelGenerationResponse()

    async def UploadAsset(self, requests: AsyncIterator[Any], context: Any) -> Any:  # type: ignore[override]
        parts = [part async for part in requests]
        data = b"".join(part.data for part in parts)
        digest = hashlib.sha256(data).hexdigest()
        media = media_pb2.MediaRef(uri=f"blob:{digest}", sha256=digest, media_type=parts[0].header.media_type)
        self.requests.append(data)
        return assets_pb2.UploadAssetResponse(asset=assets_pb2.Asset(id="uploaded", media=media))

    async def DownloadAsset(self, request: Any, context: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        self.requests.append(request)
        for start in range(0, len(self.asset), 16):
            yield assets_pb2.DownloadAssetResponse(data=self.asset[start : start + 16])


@asynccontextmanager
async def playing(script: Script) -> AsyncIterator[str]:
    """Yield the address at which a script is played."""
    server = grpc.aio.server()
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(script, server)
    add_AssetServiceServicer_to_server(script, server)
    add_UsageServiceServicer_to_server(script, server)
    add_RouterServiceServicer_to_server(script, server)
    add_PromptServiceServicer_to_server(script, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
