"""RouterService: from the wire into the router's words, and back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from router.backends.protocol import Loaded, Preview, Source, Step, Stored
from router.composition import Adapt, Parts, compose
from router.demand import Demand
from router.events import Drawn, Event, Fallback, Routed
from router.experiments.rpcs import ExperimentRpcs
from router.messages import backend_of, candidates_of, demand_of, order_of, routed_of, source_of
from router.previews import MEDIA_TYPE, encode_preview
from router.settings import Settings
from scrollintel.visual.v1 import errors_pb2, events_pb2, router_pb2, router_pb2_grpc
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime import identity
from services.runtime.errors import MeshError
from services.runtime.images import encode_png, media_type_of
from services.runtime.server import ServerSpec

Context = Any  # grpc.aio.ServicerContext, unused: errors, deadlines and cancellation are the runtime's


class Router(ExperimentRpcs):
    """Serves every rpc; those of experiments and outcomes are its parent's."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.experiments, parts.performance, parts.models)
        self._fleet = parts.fleet
        self._execution = parts.execution
        self._tenants = parts.tenants
        self._blobs = parts.blobs
        self._unserved = parts.unserved

    async def Route(self, request: router_pb2.RouteRequest, _: Context) -> router_pb2.RouteResponse:
        """Rank the backends and explain each; nothing runs."""
        async with self._explaining(request.image.model_preference):
            decision = self._execution.decide(self._demand(request))
        return router_pb2.RouteResponse(candidates=candidates_of(decision))

    async def Execute(
        self, request: router_pb2.ExecuteRequest, _: Context
    ) -> AsyncGenerator[router_pb2.ExecuteResponse]:
        """Run a request and stream what happens."""
        source = await self._source(source_of(request))
        order = order_of(request, self._demand(request), identity.current().tenant, source)
        async with (
            self._explaining(request.image.model_preference),
            aclosing(self._execution.run(order)) as events,
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

    def _demand(self, request: router_pb2.RouteRequest | router_pb2.ExecuteRequest) -> Demand:
        return self._tenants.restrict(demand_of(request), identity.current().tenant)

    async def _source(self, media: MediaRef | None) -> Source | None:
        """Return the picture to work from. Raises MeshError NOT_FOUND, and MEDIA_INVALID when it is none."""
        if media is None:
            return None
        data = await self._blobs.get(media)
        media_type, _, _ = await asyncio.to_thread(media_type_of, data)
        return Source(data, media_type)

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
            case Routed():
                return router_pb2.ExecuteResponse(routed=routed_of(event))
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
                output = events_pb2.Output(index=index, media=media, seed=None if seed < 0 else seed)
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
async def assemble(settings: Settings, adapt: Adapt) -> AsyncIterator[Router]:
    """Make the router over the own backends that `adapt` makes. Raises as `compose` does."""
    async with compose(settings, adapt) as parts:
        yield Router(parts)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Router]:
    """Make the router over Triton. Raises as `compose` does."""
    async with compose(settings) as parts:
        yield Router(parts)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the router a server."""
    return ServerSpec(
        name="router",
        settings=settings or Settings(),
        services=[router_pb2.DESCRIPTOR.services_by_name["RouterService"]],
        build=build,
        register=router_pb2_grpc.add_RouterServiceServicer_to_server,
    )
