"""GenerationService over the engine: from the wire to the engine's terms and back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from scrollintel.visual.v1 import errors_pb2, generation_pb2
from scrollintel.visual.v1.generation_pb2 import (
    CancelGenerationRequest,
    CancelGenerationResponse,
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
from services.orchestrator import defaults, store
from services.orchestrator.calls import MeshSteps, channels
from services.orchestrator.engine import Engine
from services.orchestrator.pipeline import PIPELINES, Work
from services.orchestrator.settings import Settings
from services.orchestrator.sizes import SizeError
from services.orchestrator.steps import Steps
from services.orchestrator.store import Generation, Store
from services.runtime import identity
from services.runtime.admission import Admission
from services.runtime.errors import MeshError
from services.runtime.server import ServerSpec

DEFAULT_PAGE_SIZE = 50
TELL_SECONDS = 0.5  # kept back from the grace period for the terminal events to reach their callers

Context = grpc.aio.ServicerContext[Any, Any]


class Orchestrator(GenerationServiceServicer):
    """Serves generations. A request_id and a generation's id mean something only to the tenant they belong to."""

    def __init__(self, engine: Engine, kept: Store) -> None:
        self._engine = engine
        self._store = kept

    async def Generate(self, request: GenerateRequest, context: Context) -> AsyncIterator[GenerateResponse]:
        """Start, join or replay a generation and stream its events."""
        generation = self._wanted(request)
        with self._engine.attended(generation):
            await self._engine.let_in(generation)
            async for event in generation.log.watch():
                yield GenerateResponse(event=event)

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
        objective = request.objective if request.HasField("objective") else None
        work = Work(store.new_id(), _filled(request), objective, request.previews)
        generation = Generation(work, tenant, request.request_id, fingerprint)
        self._engine.start(generation)
        return generation


def _filled(request: GenerateRequest) -> generation_pb2.GenerationSpec:
    kind = request.spec.WhichOneof("spec")
    if kind not in PIPELINES:
        raise MeshError(
            errors_pb2.ERROR_REASON_UNIMPLEMENTED,
            f"spec.{kind} is not served by this version",
            field=f"spec.{kind}",
        )
    try:
        return defaults.fill(request.spec)
    except SizeError as error:
        field = f"spec.image.{error.field}"
        raise MeshError(
            errors_pb2.ERROR_REASON_FIELD_INVALID, f"{field}: {error.rule}", field=field
        ) from None


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
        yield Orchestrator(engine, kept)
    finally:
        await engine.close(settings.grace_seconds)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Orchestrator]:
    """Make the servicer over the servers of the mesh."""
    async with channels(settings) as opened, serving(settings, MeshSteps(opened, settings)) as orchestrator:
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
