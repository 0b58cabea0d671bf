"""Puts the routes on a server."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc

from services.gateway.proxy import Proxy
from services.gateway.routes import ROUTES
from services.gateway.settings import Settings
from services.gateway.tenants import TenantRoom
from services.runtime.channels import connect
from services.runtime.server import ServerSpec


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Proxy]:
    """Open a channel to every server behind the door; they close with the body."""
    async with AsyncExitStack() as stack:
        servers = {route.server for route in ROUTES}
        channels = {
            server: await stack.enter_async_context(connect(getattr(settings, f"{server}_address")))
            for server in sorted(servers)
        }
        yield Proxy(channels, TenantRoom(settings.tenant_calls), trust_tenant=settings.trust_tenant)


def register(proxy: Proxy, server: grpc.aio.Server) -> None:
    """Answer for the services of every route."""
    for route in ROUTES:
        handler = grpc.method_handlers_generic_handler(route.service.full_name, proxy.handlers(route))
        server.add_generic_rpc_handlers((handler,))


def spec(settings: Settings | None = None) -> ServerSpec:
    """Describe the server."""
    return ServerSpec(
        name="gateway",
        settings=settings or Settings(),
        services=[route.service for route in ROUTES],
        build=build,
        register=register,
    )
