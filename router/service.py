"""RouterService: from the wire into the router's words, and back."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from router.backends.protocol import Backend, Loaded, Preview, Step, Stored
from router.backends.triton import TritonBackend
from router.discovery import Discovery, discovering
from router.entries import BackendEntry, load_entries
from router.execution import Drawn, Event, Execution, Fallback, Routed
from router.fleet import Fleet
from router.messages import backend_of, candidate_of, candidates_of, demand_of, order_of
from router.policy import load_policy
from router.previews import MEDIA_TYPE, encode_preview
from router.probing import probing
from router.settings import Settings
from router.unserved import Unserved
from scrollintel.visual.v1 import errors_pb2, events_pb2, router_pb2, router_pb2_grpc
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.images import encode_png
from services.runtime.models import Models
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient

Context = Any  # grpc.aio.ServicerContext, unused: errors, deadlines and cancellation are the runtime's


class Router(router_pb2_grpc.RouterServiceServicer):
    """Serves the rpcs of this version; those of experiments and outcomes are not overridden."""

    def __init__(self, fleet: Fleet, execution: Execution, blobs: BlobStore, unserved: Unserved) -> None:
        self._fleet = fleet
        self._execution = execution
        self._blobs = blobs
        self._unserved = unserved

    async def Route(self, request: router_pb2.RouteRequest, _: Context) -> router_pb2.RouteResponse:
        """Rank the backends and explain each; nothing runs."""
        async with self._explaining(request.image.model_preference):
            decision = self._execution.decide(demand_of(request.image, request.objective))
        return router_pb2.RouteResponse(candidates=candidates_of(decision))

    async def Execute(
        self, request: router_pb2.ExecuteRequest, _: Context
    ) -> AsyncGenerator[router_pb2.ExecuteResponse]:
        """Run a request and stream what happens."""
        async with (
            self._explaining(request.image.model_preference),
            aclosing(self._execution.run(order_of(request))) as events,
        ):
            async for event in events:
                yield await self._response(event)

    async def ListBackends(
        self, _: router_pb2.ListBackendsRequest, __: Context
    ) -> router_pb2.ListBackendsResponse:
        """List the backends by name."""
        return router_pb2.ListBackendsResponse(backends=map(backend_of, self._fleet.snapshot().backends))

    async def WatchBackends(
        self, _: router_pb2.WatchBackendsRequest, __: Context
    ) -> AsyncGenerator[router_pb2.WatchBackendsResponse]:
        """Stream every backend now and again when it changes."""
        async with aclosing(self._fleet.watch()) as views:
            async for view in views:
                yield router_pb2.WatchBackendsResponse(backend=backend_of(view))

    async def DrainBackend(
        self, request: router_pb2.DrainBackendRequest, _: Context
    ) -> router_pb2.DrainBackendResponse:
        """Drain a backend or take it back into service."""
        try:
            view = self._fleet.drain(request.name, request.drain)
        except KeyError:
            known = ", ".join(self._fleet.members)
            message = f"name: no backend is called {request.name}; there are {known}"
            raise MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, message, field="name") from None
        return router_pb2.DrainBackendResponse(backend=backend_of(view))

    @asynccontextmanager
    async def _explaining(self, model: str) -> AsyncIterator[None]:
        """Tell who asks for a model that has no weights here what it needs, instead of that nobody serves it."""
        try:
            yield
        except MeshError as error:
            if error.reason != errors_pb2.ERROR_REASON_MODEL_UNKNOWN:
                raise
            raise await self._unserved.explain(error, model) from error

    async def _response(self, event: Event) -> router_pb2.ExecuteResponse:
        match event:
            case Routed(chosen, decision, reasons):
                others = [other for other in candidates_of(decision) if other.backend != chosen.backend.name]
                first = candidate_of(chosen, decision.demand)
                routed = events_pb2.Routed(chosen=first, reasons=reasons, runners_up=others)
                return router_pb2.ExecuteResponse(routed=routed)
            case Loaded(taken):
                loaded = events_pb2.Step(stage=events_pb2.STAGE_LOAD, k=1, n=1, note=f"in {taken:.1f} s")
                return router_pb2.ExecuteResponse(step=loaded)
            case Step(k, n):
                return router_pb2.ExecuteResponse(step=events_pb2.Step(stage=events_pb2.STAGE_DRAW, k=k, n=n))
            case Preview(index, pixels):
                png = await encode_preview(pixels)
                preview = events_pb2.Preview(index=index, image=png, media_type=MEDIA_TYPE)
                return router_pb2.ExecuteResponse(preview=preview)
            case Fallback(failed, following, reason):
                # `from` is a keyword of Python
                fallback = events_pb2.Fallback(**{"from": failed, "to": following, "reason": reason})
                return router_pb2.ExecuteResponse(fallback=fallback)
            case Stored(index, seed, media):
                output = events_pb2.Output(index=index, media=media, seed=max(0, seed))
                return router_pb2.ExecuteResponse(output=output)
            case Drawn():
                return router_pb2.ExecuteResponse(output=await self._stored(event))

    async def _stored(self, drawn: Drawn) -> events_pb2.Output:
        """Store a picture as PNG, with what it was drawn with as its text."""
        output, job = drawn.output, drawn.job
        text = {
            "model": drawn.model,
            "steps": str(job.steps),
            "guidance_scale": f"{job.guidance_scale:g}",
            "seed": str(output.seed),
        }
        height, width = output.pixels.shape[:2]
        png = await encode_png(output.pixels, text)
        media = await self._blobs.put(png, media_type="image/png", width=width, height=height)
        return events_pb2.Output(index=output.index, media=media, seed=output.seed)


@asynccontextmanager
async def assemble(settings: Settings, adapt: Callable[[BackendEntry], Backend]) -> AsyncIterator[Router]:
    """Put the router together over the backends that `adapt` makes, keep probing them and looking for new ones.

    Raises ConfigurationError.
    """
    policy = load_policy(settings.weights_file)
    entries = load_entries(settings.backends_file)
    fleet = Fleet.of(entries, adapt, settings.probe_misses)
    blobs = BlobStore.open(settings.blob_url, settings.home)
    repository = settings.repository or settings.home / "model_repository"
    names = [entry.name for entry in entries]
    async with (
        connect(settings.models_address) as models,
        probing(fleet, settings.probe_seconds, settings.probe_timeout_seconds) as probes,
        discovering(Discovery(repository, names, fleet, adapt, probes), settings.discovery_seconds),
    ):
        yield Router(fleet, Execution(fleet, policy, settings.run_seconds), blobs, Unserved(models))


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Router]:
    """Make the router over Triton. Raises ConfigurationError."""
    async with (
        TritonClient(settings.triton_address) as client,
        connect(settings.models_address) as models,
    ):
        leases = Models(models)
        async with assemble(settings, lambda entry: TritonBackend(entry, client, leases)) as router:
            yield router


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the router a server."""
    return ServerSpec(
        name="router",
        settings=settings or Settings(),
        services=[router_pb2.DESCRIPTOR.services_by_name["RouterService"]],
        build=build,
        register=router_pb2_grpc.add_RouterServiceServicer_to_server,
    )
