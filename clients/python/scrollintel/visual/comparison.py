"""Several models at the same picture, as their caller holds them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from scrollintel.visual import events, exceptions
from scrollintel.visual.assets import Download
from scrollintel.visual.events import Completed, Event, Failed
from scrollintel.visual.exceptions import GenerationCancelledError, InternalError, VisualMeshError
from scrollintel.visual.generation import task_is_cancelled
from scrollintel.visual.results import GenerationResult
from scrollintel.visual.v1 import generation_pb2 as pb

if TYPE_CHECKING:  # the asynchronous stubs exist for type checkers alone
    from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceAsyncStub


class Comparison(AsyncIterator[tuple[str, Event]]):
    """Iterate it for (model, event) as they come, await `results()` for what each model made, or the one after the other.

    Every model is a generation of its own: numbers of its events start at 1, and one `Completed` or `Failed` ends them.
    The work starts when the object is made. Closing it, or cancelling the task that reads it, stops all that has not
    ended; so does leaving it as a context manager.

    Iteration ends when every model has. A call that was refused before its first event, or whose connection broke,
    raises instead. One task iterates at a time; events that `results()` read are not seen by an iterator.
    """

    def __init__(
        self,
        stub: "GenerationServiceAsyncStub",
        request: pb.CompareModelsRequest,
        *,
        address: str,
        timeout: float | None,
        metadata: Sequence[tuple[str, str]],
        download: Download,
    ) -> None:
        self._address = address
        self._download = download
        self._reading = asyncio.Lock()
        self._ended: dict[str, GenerationResult | VisualMeshError] = {}
        self._over = False
        self._broken: VisualMeshError | None = None
        self._stopping = False
        self.request_id = request.request_id
        self.models: tuple[str, ...] = tuple(request.models)
        """The models, in the order in which they were named."""
        self._call = stub.CompareModels(request, timeout=timeout, metadata=tuple(metadata))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, Event]:
        async with self._reading:
            found = await self._read()
        if found is None:
            raise StopAsyncIteration
        return found

    async def results(self) -> dict[str, GenerationResult | VisualMeshError]:
        """Read what is left of the stream and return what each model made, or why it made nothing, in their order.

        Raises:
            VisualMeshError: the comparison was refused, closed, or its connection broke.
        """
        async with self._reading:
            while await self._read() is not None:
                pass
        if self._broken is not None:
            raise self._broken
        return {model: self._ended[model] for model in self.models}

    def close(self) -> None:
        """Close the stream; every generation that has not ended is stopped."""
        self._stopping = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _read(self) -> tuple[str, Event] | None:
        """Return the next event, or None when the stream has ended; notes how each model ended."""
        if self._over:
            return None
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self._break(exceptions.from_rpc(error, self._address)) from error
        except asyncio.CancelledError:
            stopped = self._break(
                GenerationCancelledError("the comparison was closed", reason="CANCELLED", code="CANCELLED")
            )
            # gRPC does this by itself, but for a task that is cancelled before the call has left.
            self._call.cancel()
            if self._stopping and self._call.cancelled() and not task_is_cancelled():
                raise stopped from None
            raise
        if isinstance(response, pb.CompareModelsResponse):
            event = events.read(response.event, self._download)
            match event:
                case Completed():
                    self._ended[response.model] = event.result
                case Failed():
                    self._ended[response.model] = event.error
            return response.model, event
        self._over = True
        if missing := [model for model in self.models if model not in self._ended]:
            raise self._break(
                InternalError(f"the event stream ended without saying how {', '.join(missing)} ended")
            )
        return None

    def _break(self, error: VisualMeshError) -> VisualMeshError:
        self._over, self._broken = True, error
        return error
