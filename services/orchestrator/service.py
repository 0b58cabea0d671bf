"""GenerationService over the engine: from the wire to the engine's terms and back."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from typing import Any

import grpc

from scrollintel.visual.v1 import generation_pb2
from scrollintel.visual.v1.generation_pb2 import (
    CancelGenerationRequest,
    CancelGenerationResponse,
    CompareModelsRequest,
    CompareModelsResponse,
    EstimateGenerationRequest,
    EstimateGenerationResponse,
    GenerateRequest,
    GenerateResponse,
    GetGenerationRequest,
    GetGenerationResponse,
    ListGenerationsRequest,
    ListGenerationsResponse,
    WatchGenerationRequest,
    WatchGenerationResponse,
)
from scrollintel.visual.v1.generation_pb2_grpc import (
    GenerationServiceServicer,
    add_GenerationServiceServicer_to_server,
)
from services.orchestrator import asked, defaults, estimates
from services.orchestrator.calls import MeshSteps, channels
from services.orchestrator.engine import Engine
from services.orchestrator.paths import told_as
from services.orchestrator.reports import Reports
from services.orchestrator.settings import Settings
from services.orchestrator.steps import Steps
from services.orchestrator.store import Generation, Store
from services.orchestrator.streams import merged
from services.runtime import identity
from services.runtime.admission import Admission
from services.runtime.server import ServerSpec

DEFAULT_PAGE_SIZE = 50
TELL_SECONDS = 0.5  # kept back from the grace period for the terminal events to reach their callers

Context = grpc.aio.ServicerContext[Any, Any]


class Orchestrator(GenerationServiceServicer):
    """Serves generations. A request_id and a generation's id mean something only to the tenant they belong to."""

    def __init__(self, engine: Engine, kept: Store, steps: Steps) -> None:
        self._engine = engine
        self._store = kept
        self._steps = steps

    async def Generate(self, request: GenerateRequest, context: Context) -> AsyncIterator[GenerateResponse]:
        """Start, join or replay a generation and stream its events."""
        generation = self._wanted(request)
        with self._engine.attended(generation):
            await self._engine.let_in(generation)
            async for event in generation.log.watch():
                yield GenerateResponse(event=event)

    async def CompareModels(
        self, request: CompareModelsRequest, context: Context
    ) -> AsyncIterator[CompareModelsResponse]:
        """Run one image spec on several models side by side, as far as there is room, and stream all their events.

        Either there is room, running or waiting, for every model that has not begun, or the call is refused and none
        begins. Each is a generation like any other, and the call is its caller.
        """
        generations = self._compared(request)
        with ExitStack() as stack:
            for generation in generations.values():
                stack.enter_context(self._engine.attended(generation))
            for generation in generations.values():
                await self._engine.let_in(generation)
            logs = {model: generation.log.watch() for model, generation in generations.items()}
            async with aclosing(merged(logs)) as events:
                async for model, event in events:
                    yield CompareModelsResponse(model=model, event=event)

    async def EstimateGeneration(
        self, request: EstimateGenerationRequest, context: Context
    ) -> EstimateGenerationResponse:
        """Plan a drawing; nothing runs."""
        image = asked.estimated(request)
        objective = request.objective if request.HasField("objective") else None
        limit = request.max_cost_usd if request.HasField("max_cost_usd") else None
        with told_as("image.", "spec.image."):
            ranked = await self._steps.route(estimates.routed(image, objective, limit))
        return estimates.estimate(image, ranked.candidates, limit)

    async def drain(self, grace: float) -> None:
        """End what runs a little before `grace` seconds are over, while callers can still be told."""
        await self._engine.close(max(0.0, grace - TELL_SECONDS))

    async def GetGeneration(self, request: GetGenerationRequest, context: Context) -> GetGenerationResponse:
        """Read a generation."""
        return GetGenerationResponse(generation=self._found(request.id).message())

    async def WatchGeneration(
        self, request: WatchGenerationRequest, context: Context
    ) -> AsyncIterator[WatchGenerationResponse]:
        """Stream a generation's events after a number."""
        async for event in self._found(request.id).log.watch(request.after_sequence):
            yield WatchGenerationResponse(event=event)

    async def CancelGeneration(
        self, request: CancelGenerationRequest, context: Context
    ) -> CancelGenerationResponse:
        """Stop a generation."""
        generation = self._found(request.id)
        taken = CancelGenerationResponse(generation=generation.message())
        self._engine.cancel(generation)
        return taken

    async def ListGenerations(
        self, request: ListGenerationsRequest, context: Context
    ) -> ListGenerationsResponse:
        """List generations, newest first."""
        size = request.page_size or DEFAULT_PAGE_SIZE
        page, token = self._store.page(identity.current().tenant, size, request.page_token)
        return ListGenerationsResponse(generations=[each.message() for each in page], next_page_token=token)

    def _found(self, generation_id: str) -> Generation:
        return self._store.get(identity.current().tenant, generation_id)

    def _wanted(self, request: GenerateRequest) -> Generation:
        """Return the generation that the request started before, or start it."""
        tenant, fingerprint = identity.current().tenant, defaults.fingerprint(request)
        known = self._store.requested(tenant, request.request_id, fingerprint)
        if known is not None:
            return known
        generation = asked.generation(tenant, request, fingerprint)
        self._engine.start(generation)
        return generation

    def _compared(self, request: CompareModelsRequest) -> dict[str, Generation]:
        """Return a generation for each model: those that the request started before, and the others started."""
        tenant, fingerprint = identity.current().tenant, defaults.fingerprint(request)
        found: dict[str, Generation] = {}
        new: list[Generation] = []
        for model, one in asked.compared(tenant, request):
            known = self._store.requested(tenant, one.request_id, fingerprint)
            if known is None:
                known = asked.generation(tenant, one, fingerprint)
                new.append(known)
            found[model] = known
        self._engine.start(*new)
        return found


@asynccontextmanager
async def serving(settings: Settings, steps: Steps) -> AsyncIterator[Orchestrator]:
    """Make the servicer over given steps; leaving ends what still runs, within the grace period."""
    kept = Store(settings.kept)
    admission = Admission(settings.running, settings.waiting, settings.expected_seconds)
    limits = {
        "image": settings.generation_seconds,
        "video": settings.generation_seconds,
        "enhancement": settings.enhancement_seconds,
    }
    engine = Engine(steps, kept, admission, limits)
    try:
        yield Orchestrator(engine, kept, steps)
    finally:
        await engine.close(settings.grace_seconds)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Orchestrator]:
    """Make the servicer over the servers of the mesh."""
    async with (
        channels(settings) as opened,
        Reports(opened.router) as reports,
        serving(settings, MeshSteps(opened, reports, settings)) as orchestrator,
    ):
        yield orchestrator


def spec(settings: Settings | None = None) -> ServerSpec:
    """Describe the server."""
    return ServerSpec(
        name="orchestrator",
        settings=settings or Settings(),
        services=[generation_pb2.DESCRIPTOR.services_by_name["GenerationService"]],
        build=build,
        register=add_GenerationServiceServicer_to_server,
    )
