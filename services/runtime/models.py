"""Leases on models: a model that is used under one is loaded before and not unloaded meanwhile.

    models = Models(channel)                                  # a channel to the models server; its owner closes it
    async with models.use("sdxl", timeout=120):               # waits until the model is ready
        async for response in triton.stream("sdxl", ...):     # whatever the model is asked

The lease is an open `UseModel` call, so it ends with its holder, however that comes about.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import structlog

from scrollintel.visual.v1 import errors_pb2, models_pb2, models_pb2_grpc
from services.runtime.channels import STREAM_SECONDS
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError, calling

if TYPE_CHECKING:
    from scrollintel.visual.v1.models_pb2_grpc import ModelServiceAsyncStub

SERVER = "the models server"
END_SECONDS = 2.0  # for the models server to take in that a lease ends, and with which failure

# What the models server can mend: the model is loaded afresh, or found to be gone and loaded again.
REPORTED = frozenset(
    {
        errors_pb2.ERROR_REASON_OUT_OF_MEMORY,
        errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    }
)

Messages: TypeAlias = "asyncio.Queue[models_pb2.UseModelRequest | None]"

log = structlog.get_logger()


class Models:
    """Opens leases over a channel to the models server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: ModelServiceAsyncStub = models_pb2_grpc.ModelServiceStub(channel)

    @asynccontextmanager
    async def use(self, model: str, *, timeout: float) -> AsyncIterator[None]:
        """Load a model if need be, wait at most `timeout` seconds for it, and keep it loaded while the body runs.

        A MeshError that leaves the body and that the models server can mend (REPORTED) is told to it on the way out.

        Raises MeshError: NOT_FOUND, MODEL_NEEDS_WEIGHTS, MODEL_UNAVAILABLE and MODEL_FAILED (it could not be loaded),
        OUT_OF_MEMORY (it fits beside the pinned models in no case) and OVERLOADED (it does not fit beside what is in
        use, or was not ready in time; both say when to ask again), DEPENDENCY_UNAVAILABLE (no models server),
        DEADLINE_EXCEEDED (the caller's own).
        """
        messages: Messages = asyncio.Queue()
        messages.put_nowait(models_pb2.UseModelRequest(name=model))
        # Longer than any work under a lease; the caller's own deadline, if it has one, is what ends it.
        call: Any = self._stub.UseModel(_sent(messages), timeout=STREAM_SECONDS)
        try:
            await _until_ready(call, model, timeout)
            try:
                yield
            except MeshError as error:
                if error.reason in REPORTED:
                    await _end(call, messages, models_pb2.UseModelRequest(failure=error.reason))
                raise
            await _end(call, messages, None)
        finally:
            messages.put_nowait(None)  # else a call that the server ended would wait for messages for ever
            call.cancel()


async def _sent(messages: Messages) -> AsyncGenerator[models_pb2.UseModelRequest]:
    while (message := await messages.get()) is not None:
        yield message


async def _until_ready(call: Any, model: str, timeout: float) -> None:
    try:
        with calling(SERVER):
            async with asyncio.timeout(timeout):
                async for answer in call:
                    if answer.state == models_pb2.MODEL_STATE_READY:
                        return
    except TimeoutError:
        raise MeshError(
            errors_pb2.ERROR_REASON_OVERLOADED,
            f"{model} was not ready within {timeout:g} s; ask again, it may be by then",
            retry_after=DEFAULT_RETRY_SECONDS,
        ) from None
    message = f"{SERVER} ended the lease on {model} before it was ready; try again shortly"
    raise MeshError(
        errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE, message, retry_after=DEFAULT_RETRY_SECONDS
    )


async def _end(call: Any, messages: Messages, last: models_pb2.UseModelRequest | None) -> None:
    """Say the last word and wait until it was taken in: the lease is given back then, and a failure will be mended."""
    messages.put_nowait(last)
    try:
        async with asyncio.timeout(END_SECONDS):
            async for _ in call:
                pass
    except (TimeoutError, grpc.aio.AioRpcError) as error:  # it ends with the call anyway
        log.warning("the end of a lease was not taken in", error=type(error).__name__)
