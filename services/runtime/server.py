"""A server's life: bind, build, serve, drain, close.

`serve` binds first, answers NOT_SERVING while the servicer is built and warmed up, then SERVING. `RunningServer.drain`
answers NOT_SERVING, lets running calls finish within the grace period and refuses new ones. Leaving `serve` drains and
then closes what `build` opened, in reverse order.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.runtime import layers, telemetry
from services.runtime.channels import SERVER_OPTIONS
from services.runtime.settings import ServerSettings

Status = health_pb2.HealthCheckResponse
CLOSE_SECONDS = 5.0  # after the grace period, for what is left to be cancelled

log = structlog.get_logger()


Finish = Callable[[float], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class ServerSpec:
    """Everything that makes one server.

    `services` are the wire services it answers for; `build` makes the servicer from the settings and owns what the
    servicer needs; `register` puts it on the server (the generated `add_<Service>Servicer_to_server`).
    """

    name: str
    settings: ServerSettings
    services: Sequence[ServiceDescriptor]
    build: Callable[[Any], AbstractAsyncContextManager[Any]]
    register: Callable[[Any, grpc.aio.Server], None]


@dataclass(eq=False)
class RunningServer:
    """A server that answers at `address`."""

    name: str
    address: str
    _server: grpc.aio.Server
    _health: health.aio.HealthServicer
    _services: Sequence[str]
    _grace: float
    _drained: bool = field(default=False)
    _finish: Finish | None = field(default=None)

    def add_infrastructure(self) -> None:
        """Put health, reflection and channelz on the server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*filter(None, self._services), health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server)
        channelz.add_channelz_servicer(self._server)

    async def set_status(self, status: Any) -> None:
        """Answer health checks, for the whole server and for each service, with `status`."""
        for service in self._services:
            await self._health.set(service, status)

    async def tell_served(self, rpcs: Iterable[str]) -> None:
        """Answer SERVING to health checks for each of these rpcs (`<service>/<rpc>`); NOT_FOUND means UNIMPLEMENTED."""
        for rpc in rpcs:
            await self._health.set(rpc, Status.SERVING)

    async def drain(self) -> None:
        """Stop taking calls and let the running ones finish within the grace period; the second call returns at once."""
        if self._drained:
            return
        self._drained = True
        await self._health.enter_graceful_shutdown()
        async with asyncio.timeout(self._grace + CLOSE_SECONDS), asyncio.TaskGroup() as group:
            group.create_task(_stop(self._server, self._grace))
            if self._finish is not None:
                group.create_task(self._finish(self._grace))

    def finish_with(self, servicer: object) -> None:
        """Let a servicer with a `drain(grace_seconds)` of its own end its work while calls are still open."""
        self._finish = getattr(servicer, "drain", None)


@asynccontextmanager
async def serve(spec: ServerSpec) -> AsyncIterator[RunningServer]:
    """Run a server while the body runs; it is SERVING when the body starts."""
    telemetry.configure(spec.name, spec.settings)
    around = layers.Layers(
        layers.telemetry_layer(spec.name),
        layers.error_layer,
        layers.deadline_layer,
        layers.identity_layer,
        layers.room_layer(spec.settings.max_concurrent_rpcs),
    )
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=[around])
    running = RunningServer(
        spec.name,
        _bind(server, spec.settings.listen),
        server,
        health.aio.HealthServicer(),
        ["", *(service.full_name for service in spec.services)],
        spec.settings.grace_seconds,
    )
    running.add_infrastructure()
    await running.set_status(Status.NOT_SERVING)
    await server.start()
    try:
        async with spec.build(spec.settings) as servicer:
            started = _Started(server)
            spec.register(servicer, cast("grpc.aio.Server", started))
            running.finish_with(servicer)
            around.open()
            await running.set_status(Status.SERVING)
            await running.tell_served(started.rpcs(spec.services))
            log.info("serving", server=spec.name, address=running.address)
            try:
                yield running
            finally:
                await running.drain()
    finally:
        await server.stop(None)


@dataclass(frozen=True)
class _Started:
    """A started server as generated code sees it: generic handlers are still taken, registered ones no longer.

    The two are the same handlers; the second kind only spares the look-up by name.
    """

    server: grpc.aio.Server
    taken: list[grpc.GenericRpcHandler] = field(default_factory=list)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self.server.add_generic_rpc_handlers(handlers)
        self.taken.extend(handlers)

    def rpcs(self, services: Sequence[ServiceDescriptor]) -> Iterator[str]:
        """Yield `<service>/<rpc>` for everything declared that has a handler of its own."""
        for service in services:
            for method in service.methods:
                name = f"{service.full_name}/{method.name}"
                details = cast("grpc.HandlerCallDetails", _Details(f"/{name}"))
                found = filter(None, (handler.service(details) for handler in self.taken))
                if any(layers.is_served(layers.behavior_of(handler)) for handler in found):
                    yield name

    def add_registered_method_handlers(self, _service: str, _handlers: object) -> None:
        """Nothing to do."""


class _Details(NamedTuple):
    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


async def _stop(server: grpc.aio.Server, grace: float) -> None:
    await server.stop(grace)


def _bind(server: grpc.aio.Server, listen: str) -> str:
    host = listen.rpartition(":")[0]
    try:
        return f"{host}:{server.add_insecure_port(listen)}"
    except RuntimeError as error:
        raise SystemExit(
            f"cannot bind {listen}: in use, or not an address of this machine; set another `listen`"
        ) from error


def run(spec: ServerSpec) -> None:
    """Run a server as a process of its own until SIGTERM or SIGINT; a second signal ends it at once."""
    telemetry.configure_logs()
    asyncio.run(_run(spec))


async def _run(spec: ServerSpec) -> None:
    async with serve(spec) as server:
        await stop_signal()
        log.info("draining", server=server.name, grace_seconds=spec.settings.grace_seconds)


async def stop_signal() -> None:
    """Wait for the first SIGTERM or SIGINT, and let the next one end the process."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def ask() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # restores Python's own, which ends the process
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    await asked.wait()
