"""Calls to models on Triton, by tensors, over the mesh's own channels.

The stubs come from `tritonclient`; its client class is left aside, because deadlines, traces and limits are those of
`channels.connect`, and errors are those of the mesh.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from services.runtime import deadline, telemetry
from services.runtime.channels import connect
from services.runtime.errors import MeshError

Tensors = dict[str, NDArray[Any]]

PROBE_SECONDS = 1.0
# A dead Triton is back, models loaded, two to three seconds after it died (docs/03-triton.md).
RESTART_SECONDS = 3.0


class TritonClient:
    """A connection to one Triton; an async context manager that owns its channel."""

    def __init__(self, address: str) -> None:
        self._channel = connect(address)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def infer(self, model: str, inputs: Mapping[str, NDArray[Any]], timeout: float) -> Tensors:
        """Run a model once and return its outputs by name; strings go in as object arrays.

        Raises MeshError of the family MODEL_ERROR or RESOURCE_ERROR, or DEADLINE_EXCEEDED.
        """
        with _asking(model):
            request = request_of(model, inputs)
            return tensors_of(await self._stub.ModelInfer(request, timeout=deadline.budget(timeout)))

    async def stream(
        self, model: str, inputs: Mapping[str, NDArray[Any]], *, request_id: str, timeout: float
    ) -> AsyncGenerator[Tensors]:
        """Run a decoupled model and yield each response; closing the iterator cancels the request on the server.

        Read it to its end unless the request is to stop: cancelling a stream at the moment it ends can crash Triton
        2.51 (docs/03-triton.md). For the same reason an error is raised only when its stream has ended.
        """

        async def requests() -> AsyncGenerator[Any, None]:
            yield request_of(model, inputs, request_id)

        # Not the current span of the code that iterates: a generator shares its context with its consumer.
        span = telemetry.tracer.start_span(f"triton/{model}")
        async with aclosing(requests()) as source:
            call, error = self._stub.ModelStreamInfer(source, timeout=deadline.budget(timeout)), ""
            try:
                async for response in call:
                    if response.error_message:
                        error = response.error_message
                    elif not error:
                        yield tensors_of(response.infer_response)
                if error:
                    raise failure(model, grpc.StatusCode.INTERNAL, error)
            except grpc.aio.AioRpcError as broken:
                raise failure(model, broken.code(), broken.details() or "") from broken
            finally:
                call.cancel()
                span.end()

    async def ready(self, model: str) -> bool:
        """Return whether a model answers."""
        request = service_pb2.ModelReadyRequest(name=model)
        try:
            return bool((await self._stub.ModelReady(request, timeout=deadline.budget(PROBE_SECONDS))).ready)
        except grpc.aio.AioRpcError:
            return False

    async def index(self, timeout: float = PROBE_SECONDS) -> dict[str, str]:
        """Return the models that Triton knows with their states, such as `READY`; raises MeshError MODEL_UNAVAILABLE."""
        with _asking("repository"):
            request = service_pb2.RepositoryIndexRequest()
            response = await self._stub.RepositoryIndex(request, timeout=deadline.budget(timeout))
        return {model.name: model.state for model in response.models}

    async def load(self, model: str, timeout: float) -> None:
        """Load a model, anew if it is loaded already, and return when it is ready; raises MeshError as `infer` does."""
        with _asking(model):
            request = service_pb2.RepositoryModelLoadRequest(model_name=model)
            await self._stub.RepositoryModelLoad(request, timeout=deadline.budget(timeout))

    async def unload(self, model: str, timeout: float) -> None:
        """Ask for a model to be unloaded; it is gone when the index says so, after the requests in it have ended."""
        with _asking(model):
            request = service_pb2.RepositoryModelUnloadRequest(model_name=model)
            await self._stub.RepositoryModelUnload(request, timeout=deadline.budget(timeout))

    async def config(self, model: str) -> Any:
        """Return a model's configuration as Triton serves it (`ModelConfig`)."""
        with _asking(model):
            request = service_pb2.ModelConfigRequest(name=model)
            return (await self._stub.ModelConfig(request, timeout=deadline.budget(PROBE_SECONDS))).config


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Trace one call to Triton and turn its failure into the mesh's error."""
    with telemetry.span(f"triton/{what}"):
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise failure(what, error.code(), error.details() or "") from error


def request_of(model: str, inputs: Mapping[str, NDArray[Any]], request_id: str = "") -> Any:
    """Return an inference request with its tensors as raw bytes."""
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    for name, value in inputs.items():
        tensor = request.inputs.add(name=name, datatype=np_to_triton_dtype(value.dtype), shape=value.shape)
        if tensor.datatype == "BYTES":
            packed = serialize_byte_tensor(value)
            request.raw_input_contents.append(packed.item() if packed.size else b"")
        else:
            request.raw_input_contents.append(np.ascontiguousarray(value).tobytes())
    return request


def tensors_of(response: Any) -> Tensors:
    """Return a response's tensors by name; they are views of the message and read-only."""
    tensors: Tensors = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype == "BYTES":
            flat = deserialize_bytes_tensor(raw)
        else:
            flat = np.frombuffer(raw, dtype=triton_to_np_dtype(output.datatype))
        tensors[output.name] = flat.reshape(tuple(output.shape))
    return tensors


def failure(model: str, code: grpc.StatusCode, details: str) -> MeshError:
    """Return the mesh's error for what Triton said of a model; Triton's own words are matched and never passed on."""
    for codes, words, reason, message in FAILURES:
        if code in codes or any(word in details.lower() for word in words):
            retry = None if reason in FINAL else RESTART_SECONDS
            return MeshError(reason, message.format(model=model), retry_after=retry)
    message = f"{model} could not finish the request"
    return MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, message, retry_after=RESTART_SECONDS)


# What Triton says, by code or by word (a stream's errors carry words alone), and what it means; the first that fits.
FAILURES: tuple[tuple[tuple[grpc.StatusCode, ...], tuple[str, ...], ErrorReason.ValueType, str], ...] = (
    (
        (grpc.StatusCode.DEADLINE_EXCEEDED,),
        (),
        errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
        "{model} did not answer in time",
    ),
    ((grpc.StatusCode.CANCELLED,), (), errors_pb2.ERROR_REASON_CANCELLED, "the call was cancelled"),
    (
        (),
        ("the queue is full",),
        errors_pb2.ERROR_REASON_OVERLOADED,
        "{model} has too much to do; try again shortly",
    ),
    (
        (grpc.StatusCode.RESOURCE_EXHAUSTED,),
        # Our models say it; Python and C++ libraries that run out where nobody catches it say the others.
        ("out of memory", "memoryerror", "bad_alloc"),
        errors_pb2.ERROR_REASON_OUT_OF_MEMORY,
        "{model} ran out of memory; try again, or ask for less",
    ),
    (
        (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND),
        ("is not ready", "is not healthy"),
        errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
        "{model} cannot be reached; it is being restarted",
    ),
)
FINAL = {errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, errors_pb2.ERROR_REASON_CANCELLED}
