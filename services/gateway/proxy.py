"""Hands calls on to the server behind the door: one generic handler for each shape of call that is open.

Responses go through as the bytes they are. A stream is read from behind only as fast as its caller reads it, and
closing either side closes the other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from services.gateway.routes import Route
from services.gateway.tenants import TenantRoom, admitted
from services.runtime import deadline, identity
from services.runtime.errors import MeshError, calling

Context = grpc.aio.ServicerContext[Any, Any]
Upstream = Callable[..., Any]
Handler = Callable[[Any, Context], Any]


class Proxy:
    """Makes handlers for routes, over one channel to each server behind the door."""

    def __init__(
        self, channels: Mapping[str, grpc.aio.Channel], room: TenantRoom, *, trust_tenant: bool
    ) -> None:
        self._channels = channels
        self._room = room
        self._trust_tenant = trust_tenant

    def handlers(self, route: Route) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
        """Return a handler for every rpc of a route's service."""
        return {
            method.name: self._handler(route.server, method, is_open) for method, is_open in route.methods()
        }

    def _handler(
        self, server: str, method: MethodDescriptor, is_open: bool
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        request = GetMessageClass(method.input_type)
        maker: Any = (
            grpc.stream_unary_rpc_method_handler
        )  # whatever its shape, a closed rpc is refused unread
        behavior: Handler = _closed
        if is_open:
            opener, maker, relay = SHAPES[method.client_streaming, method.server_streaming]
            path = f"/{method.containing_service.full_name}/{method.name}"
            upstream = getattr(self._channels[server], opener)(
                path, request_serializer=request.SerializeToString
            )
            behavior = relay(self, server, upstream)
        handler: grpc.RpcMethodHandler[Any, Any] = maker(behavior, request_deserializer=request.FromString)
        return handler

    def one_answer(self, server: str, upstream: Upstream) -> Handler:
        """Relay a call with one request and one response."""

        async def relay(request: Any, context: Context) -> bytes:
            with self._entered(server):
                # As long as the caller gives it: loading a model may take minutes. Without a word, the usual.
                return await upstream(request, timeout=deadline.remaining())  # type: ignore[no-any-return]

        return relay

    def answers(self, server: str, upstream: Upstream) -> Handler:
        """Relay a call with one request and many responses."""

        async def relay(request: Any, context: Context) -> AsyncIterator[bytes]:
            with self._entered(server):
                call = upstream(request)
                try:
                    async for response in call:
                        yield response
                finally:
                    call.cancel()

        return relay

    def many_requests(self, server: str, upstream: Upstream) -> Handler:
        """Relay a call with many requests and one response."""

        async def relay(requests: AsyncIterator[Any], context: Context) -> bytes:
            broken: list[MeshError] = []
            with self._entered(server):
                call = upstream(_watched(requests, broken))
                try:
                    return await call  # type: ignore[no-any-return]
                except asyncio.CancelledError:
                    if broken:  # gRPC cancels a call whose requests fail, and keeps the reason to itself
                        raise broken[0] from None
                    raise
                finally:
                    call.cancel()

        return relay

    @contextmanager
    def _entered(self, server: str) -> Iterator[None]:
        who = admitted(identity.current(), trust_tenant=self._trust_tenant)
        with self._room.held(who.tenant), identity.acting_as(who), calling(f"the {server} server"):
            yield


# How a call of each shape (requests stream, responses stream) is opened, served and relayed.
SHAPES: dict[tuple[bool, bool], tuple[str, Any, Callable[[Proxy, str, Upstream], Handler]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler, Proxy.one_answer),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler, Proxy.answers),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler, Proxy.many_requests),
}


async def _watched(requests: AsyncIterator[Any], broken: list[MeshError]) -> AsyncIterator[Any]:
    try:
        async for request in requests:
            yield request
    except MeshError as error:
        broken.append(error)
        raise


def _closed(request: Any, context: Context) -> Any:
    """Stand in for an rpc that is not open: like the generated bases it is no coroutine, so the runtime refuses it."""
    raise NotImplementedError
