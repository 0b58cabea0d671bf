"""The servers that the orchestrator calls, played by scripted steps over real gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from scrollintel.visual.v1 import (
    assets_pb2,
    assets_pb2_grpc,
    enhance_pb2,
    enhance_pb2_grpc,
    prompt_pb2,
    prompt_pb2_grpc,
    quality_pb2,
    quality_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    safety_pb2,
    safety_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
)
from scrollintel.visual.v1.spec_pb2 import ImageSpec
from services.orchestrator import service as orchestrator
from services.orchestrator.settings import Settings
from services.runtime import identity
from services.runtime.server import RunningServer, ServerSpec, serve
from services.runtime.settings import ServerSettings
from tests.unit.orchestrator.scripted import ScriptedSteps

MODULES = {
    "PromptService": (prompt_pb2, prompt_pb2_grpc),
    "SafetyService": (safety_pb2, safety_pb2_grpc),
    "RouterService": (router_pb2, router_pb2_grpc),
    "EnhanceService": (enhance_pb2, enhance_pb2_grpc),
    "QualityService": (quality_pb2, quality_pb2_grpc),
    "AssetService": (assets_pb2, assets_pb2_grpc),
    "UsageService": (usage_pb2, usage_pb2_grpc),
}
NOWHERE = "127.0.0.1:1"
SERVERS = ("prompt", "safety", "router", "enhance", "quality", "assets")


def settings(address: str = NOWHERE, **values) -> Settings:
    return Settings(**{f"{server}_address": address for server in SERVERS}, **values)


class Everyone(
    prompt_pb2_grpc.PromptServiceServicer,
    safety_pb2_grpc.SafetyServiceServicer,
    router_pb2_grpc.RouterServiceServicer,
    enhance_pb2_grpc.EnhanceServiceServicer,
    quality_pb2_grpc.QualityServiceServicer,
    assets_pb2_grpc.AssetServiceServicer,
    usage_pb2_grpc.UsageServiceServicer,
):
    """Answers for every server behind the orchestrator, and for the usage server."""

    def __init__(self, steps: ScriptedSteps) -> None:
        self.steps = steps
        self.tenants: set[str] = set()

    async def CheckPrompt(self, request, context):
        self.tenants.add(identity.current().tenant)
        return await self.steps.check_prompt(request.prompt, request.negative_prompt)

    async def EnhancePrompt(self, request, context):
        image = ImageSpec(prompt=request.prompt, negative_prompt=request.negative_prompt, style=request.style)
        return await self.steps.enhance_prompt(image)

    async def Route(self, request, context):
        return await self.steps.route(request)

    async def Execute(self, request, context):
        async for event in self.steps.execute(request):
            yield event

    async def EnhanceImage(self, request, context):
        async for event in self.steps.enhance_image(request.spec):
            yield event

    async def CheckImage(self, request, context):
        return await self.steps.check_image(request.image)

    async def SealMedia(self, request, context):
        return await self.steps.seal_media(request)

    async def ScoreImage(self, request, context):
        return quality_pb2.ScoreImageResponse(
            metrics=await self.steps.score_image(request.image, request.prompt, remember=request.remember)
        )

    async def CreateAsset(self, request, context):
        return assets_pb2.CreateAssetResponse(asset=await self.steps.create_asset(request))


def register(servicer, server) -> None:
    for name, (_, grpc_module) in MODULES.items():
        getattr(grpc_module, f"add_{name}Servicer_to_server")(servicer, server)


@asynccontextmanager
async def everyone(servicer) -> AsyncIterator[RunningServer]:
    """Serve `servicer` for every service of MODULES."""

    @asynccontextmanager
    async def build(_settings):
        yield servicer

    spec = ServerSpec(
        name="everyone",
        settings=ServerSettings(grace_seconds=0),
        services=[pb2.DESCRIPTOR.services_by_name[name] for name, (pb2, _) in MODULES.items()],
        build=build,
        register=register,
    )
    async with serve(spec) as server:
        yield server


@asynccontextmanager
async def orchestrating(steps: ScriptedSteps, **values) -> AsyncIterator[RunningServer]:
    """Serve a real orchestrator over scripted steps; `values` are its settings."""
    values.setdefault("grace_seconds", 0)

    def build(given):
        return orchestrator.serving(given, steps)

    async with serve(replace(orchestrator.spec(settings(**values)), build=build)) as server:
        yield server
