"""What stands around every handler, outermost first: telemetry, errors, deadline, identity, room, and the request's rules.

Each layer is an async context manager over one call, so unary and streaming handlers share them. Health, reflection
and channelz are left alone.
"""

import inspect
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import protovalidate
import structlog
from google.protobuf.message import Message
from grpc_status import rpc_status
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from scrollintel.visual.v1 import errors_pb2
from services.runtime import deadline, identity, telemetry, tracebacks
from services.runtime.errors import MeshError

PACKAGE = "/scrollintel.visual."
ROOM_RETRY_SECONDS = 1.0

log = structlog.get_logger()
_seconds = telemetry.seconds_histogram("vmesh.rpc.duration", "Duration of rpcs by code")
_active = telemetry.meter.create_up_down_counter("vmesh.rpc.active", description="Rpcs in progress")


@dataclass(frozen=True)
class Call:
    """One incoming call."""

    method: str
    context: grpc.aio.ServicerContext[Any, Any]
    metadata: list[tuple[str, str | bytes]]


Layer = Callable[[Call], AbstractAsyncContextManager[None]]


def telemetry_layer(server: str) -> Layer:
    """Return a layer that records a span under the caller's, and the rate, errors and duration of the rpc.

    `server` is the name in the mesh: several servers may share a process, so the process' resource cannot tell it.
    """

    @asynccontextmanager
    async def layer(call: Call) -> AsyncIterator[None]:
        service, rpc = call.method.lstrip("/").rsplit("/", 1)
        carrier = {key: value for key, value in call.metadata if isinstance(value, str)}
        started = time.perf_counter()
        labels = {"vmesh.server": server, "rpc.service": service, "rpc.method": rpc}
        _active.add(1, labels)
        with telemetry.tracer.start_as_current_span(
            f"{service}/{rpc}",
            context=propagate.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", **labels},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            code = grpc.StatusCode.OK
            try:
                yield
            except grpc.aio.AbortError:
                code = grpc.StatusCode(_code_of(call.context))
                raise
            except BaseException:
                code = grpc.StatusCode.CANCELLED
                raise
            finally:
                span.set_attribute("rpc.grpc.status_code", code.value[0])
                if code not in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED):
                    span.set_status(trace.Status(StatusCode.ERROR, code.name))
                _active.add(-1, labels)
                _seconds.record(time.perf_counter() - started, {**labels, "rpc.grpc.code": code.name})

    return layer


def _code_of(context: grpc.aio.ServicerContext[Any, Any]) -> Any:
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return next((known for known in grpc.StatusCode if known.value[0] == code), grpc.StatusCode.UNKNOWN)


@asynccontextmanager
async def error_layer(call: Call) -> AsyncIterator[None]:
    """Turn what was raised into a status; what nobody expected becomes INTERNAL with a trace id and no other word."""
    try:
        yield
    except MeshError as error:
        failure = error
        tracebacks.let_go(error)
    except grpc.aio.AbortError:
        raise
    except grpc.aio.AioRpcError as error:
        failure = MeshError.from_rpc(error, "a server of the mesh")
        tracebacks.let_go(error)
    except Exception as error:
        identifier = telemetry.trace_id() or "none"
        log.exception("unhandled", method=call.method)
        failure = MeshError(errors_pb2.ERROR_REASON_INTERNAL, f"internal error; quote trace {identifier}")
        tracebacks.let_go(error)
    else:
        return
    await call.context.abort_with_status(rpc_status.to_status(failure.status()))


@asynccontextmanager
async def deadline_layer(call: Call) -> AsyncIterator[None]:
    """Make the caller's deadline known to every outgoing call."""
    with deadline.until(call.context.time_remaining()):
        yield


@asynccontextmanager
async def identity_layer(call: Call) -> AsyncIterator[None]:
    """Make known who asks, to the code and to the logs."""
    who = identity.Identity.of(call.metadata)
    with (
        identity.acting_as(who),
        structlog.contextvars.bound_contextvars(
            tenant=who.tenant, request_id=who.request_id, method=call.method
        ),
    ):
        yield


def room_layer(limit: int) -> Layer:
    """Return a layer that refuses a call at once when `limit` are in progress."""
    active = 0

    @asynccontextmanager
    async def layer(_call: Call) -> AsyncIterator[None]:
        nonlocal active
        if active >= limit:
            raise MeshError(
                errors_pb2.ERROR_REASON_OVERLOADED,
                f"the server is working on {limit} calls, its limit; try again shortly",
                retry_after=ROOM_RETRY_SECONDS,
                estimated_wait=ROOM_RETRY_SECONDS,
            )
        active += 1
        try:
            yield
        finally:
            active -= 1

    return layer


def check(request: Message) -> None:
    """Check a request against its declared rules; raises MeshError FIELD_INVALID naming every field and rule."""
    try:
        protovalidate.validate(request)
    except protovalidate.ValidationError as error:
        violations = [(path_of(violation), violation.proto.message) for violation in error.violations]
        message = "; ".join(f"{name or 'request'}: {rule}" for name, rule in violations)
        raise MeshError(
            errors_pb2.ERROR_REASON_FIELD_INVALID, message, field=violations[0][0], violations=violations
        ) from None


def path_of(violation: Any) -> str:
    """Return a violation's field as a path such as `spec.image.width`; empty for a rule of the whole message."""
    elements = violation.proto.field.elements if violation.proto.field else ()
    return ".".join(
        f"{element.field_name}[{element.index}]"
        if getattr(element, "index", None) is not None
        else element.field_name
        for element in elements
    )


class Layers(grpc.aio.ServerInterceptor):
    """Puts the layers around every handler of the mesh's own services."""

    def __init__(self, *layers: Layer) -> None:
        self._layers = layers
        self._open = False

    def open(self) -> None:
        """Let calls in: what handles them is in place."""
        self._open = True

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler with the layers around it."""
        handler = await continuation(details)
        if not details.method.startswith(PACKAGE):
            return handler
        if not self._open:
            handler = grpc.unary_unary_rpc_method_handler(_starting)
        if handler is None:
            return None
        metadata = list(details.invocation_metadata or ())
        behavior = behavior_of(handler)
        wrapped = (self._streaming if handler.response_streaming else self._unary)(
            details.method, metadata, behavior, checked=not handler.request_streaming
        )
        maker = _MAKERS[handler.request_streaming, handler.response_streaming]
        return maker(wrapped, handler.request_deserializer, handler.response_serializer)

    async def _enter(
        self, stack: AsyncExitStack, call: Call, behavior: Any, request: Any, *, checked: bool
    ) -> Any:
        for layer in self._layers:
            await stack.enter_async_context(layer(call))
        if not is_served(behavior):
            raise unserved(call.method)
        if not checked:
            return _checked(request)
        if isinstance(request, Message):
            check(request)
        return request

    def _unary(self, method: str, metadata: Any, behavior: Any, *, checked: bool) -> Any:
        async def handle(request: Any, context: Any) -> Any:
            async with AsyncExitStack() as stack:
                accepted = await self._enter(
                    stack, Call(method, context, metadata), behavior, request, checked=checked
                )
                return await behavior(accepted, context)

        return handle

    def _streaming(self, method: str, metadata: Any, behavior: Any, *, checked: bool) -> Any:
        # Written out, not yielded: gRPC leaves a generator that is cancelled while it writes to the garbage collector,
        # which ends it late and in a context that is not the call's.
        async def handle(request: Any, context: Any) -> None:
            async with AsyncExitStack() as stack:
                accepted = await self._enter(
                    stack, Call(method, context, metadata), behavior, request, checked=checked
                )
                responses = behavior(accepted, context)
                stack.push_async_callback(responses.aclose)
                async for response in responses:
                    await context.write(response)

        return handle


def behavior_of(handler: Any) -> Any:
    """Return the function inside a handler, whichever shape of call it is for."""
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def is_served(behavior: Any) -> bool:
    """Return whether a handler was written: the generated bases are plain functions that raise."""
    return inspect.iscoroutinefunction(behavior) or inspect.isasyncgenfunction(behavior)


def unserved(method: str) -> MeshError:
    """Return the error of an rpc that is declared and not served yet."""
    rpc = method.rsplit("/", 1)[-1]
    return MeshError(errors_pb2.ERROR_REASON_UNIMPLEMENTED, f"{rpc} is not served by this version")


async def _starting(_request: Any, _context: Any) -> None:
    raise MeshError(
        errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
        "the server is starting; try again shortly",
        retry_after=ROOM_RETRY_SECONDS,
    )


async def _checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, Message):
            check(request)
        yield request


_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
