"""The one place where connections are made: options for both ends, and what every outgoing call carries.

`connect` returns a channel whose calls take their timeout from the incoming call's deadline, carry its trace context
and its identity, and are balanced over every address that the name resolves to.
"""

import json
from collections.abc import Callable
from typing import Any

import grpc
from opentelemetry import propagate

from services.runtime import deadline, identity

MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # one raw 3840 × 2160 RGBA frame is 33 MB
UNARY_SECONDS = 30.0  # for a call that was given no timeout, so that no await is without a deadline
STREAM_SECONDS = 600.0

# Both ends agree on pings: a server that allows fewer than its clients send would end their connections.
KEEPALIVE_MS = 30_000
SERVER_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 3),
    # A ping that comes too soon ends no connection: those that gRPC's clients measure bandwidth with are counted, too, and
    # in one whole run of the tests the models server told its callers `too_many_pings`, which failed what they were at.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # Connections stick to the pods they found: ended now and then, they find the new ones. Calls have time to finish.
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", round(STREAM_SECONDS * 1000)),
    ("grpc.so_reuseport", 0),  # two servers on one port is a mistake, not a feature
]
CLIENT_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # A server that restarts on its address is found again in a second, not after gRPC's default two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    # That is also the least time to connect in: with 200 ms, a server that was busy for longer failed its callers. One that
    # refuses the connection is found again as fast as before.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def connect(address: str) -> grpc.aio.Channel:
    """Return a channel to `address` (`host:port` or `dns:///name:port`); its owner closes it."""
    return grpc.aio.insecure_channel(
        address, options=CLIENT_OPTIONS, interceptors=[kind() for kind in _OUTGOING]
    )


def outgoing(details: grpc.aio.ClientCallDetails, default_seconds: float) -> grpc.aio.ClientCallDetails:
    """Return call details with the time left, the trace context and the identity filled in."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    present = set(metadata.keys())
    for key, value in [*carrier.items(), *identity.current().metadata()]:
        if key not in present:
            metadata.add(key, value)
    timeout = details.timeout if details.timeout is not None else default_seconds
    return grpc.aio.ClientCallDetails(
        method=details.method,
        timeout=deadline.budget(timeout),
        metadata=metadata,
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


Continuation = Callable[[grpc.aio.ClientCallDetails, Any], Any]


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Continuation, details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(outgoing(details, UNARY_SECONDS), request)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Continuation, details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(outgoing(details, STREAM_SECONDS), request)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Continuation, details: grpc.aio.ClientCallDetails, requests: Any
    ) -> Any:
        return await continuation(outgoing(details, STREAM_SECONDS), requests)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Continuation, details: grpc.aio.ClientCallDetails, requests: Any
    ) -> Any:
        return await continuation(outgoing(details, STREAM_SECONDS), requests)


_OUTGOING = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
