"""A running generation, as its caller holds it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from scrollintel.visual import events, exceptions
from scrollintel.visual.assets import Download
from scrollintel.visual.events import Completed, Event, Failed
from scrollintel.visual.exceptions import GenerationCancelledError, InternalError, VisualMeshError
from scrollintel.visual.results import GenerationResult
from scrollintel.visual.v1 import generation_pb2 as pb

if TYPE_CHECKING:  # the asynchronous stubs exist for type checkers alone
    from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceAsyncStub

CANCEL_SECONDS = 10.0


class Generation(AsyncIterator[Event]):
    """Iterate it for its events, await `result()` for what it made, or first the one and then the other.

    The work starts when the object is made and stops, before the next denoising step, when the object is cancelled,
    closed, dropped, or when the task that reads it is cancelled. As a context manager it stops the work on the way out.

    Iteration ends after `Completed` or `Failed`. A call that was refused before its first event, or whose connection
    broke, raises instead. One task iterates at a time; events that `result()` read are not seen by an iterator.
    """

    def __init__(
        self,
        stub: "GenerationServiceAsyncStub",
        request: pb.GenerateRequest,
        *,
        address: str,
        timeout: float | None,
        metadata: Sequence[tuple[str, str]],
        download: Download,
    ) -> None:
        self._stub = stub
        self._address = address
        self._metadata = tuple(metadata)
        self._download = download
        self._reading = asyncio.Lock()
        self._ended: GenerationResult | VisualMeshError | None = None
        self._stopping = False
        self.request_id = request.request_id
        self.id = ""
        """The generation's id; empty until its first event arrived."""
        self._call = stub.Generate(request, timeout=timeout, metadata=self._metadata)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        async with self._reading:
            event = await self._read()
        if event is None:
            raise StopAsyncIteration
        return event

    async def result(self) -> GenerationResult:
        """Read what is left of the stream and return what was made.

        Raises:
            VisualMeshError: the generation failed, was cancelled, or its connection broke.
        """
        async with self._reading:
            while self._ended is None:
                await self._read()
        if isinstance(self._ended, VisualMeshError):
            raise self._ended
        return self._ended

    async def cancel(self) -> None:
        """Stop the work before its next denoising step; nothing happens when it has ended.

        Events go on until `Failed` with a GenerationCancelledError, unless the generation ended first.
        """
        if self._ended is not None:
            return
        self._stopping = True
        if not self.id:
            # Nothing tells yet how the server calls it; closing the stream stops it as well.
            self._call.cancel()
            return
        try:
            await self._stub.CancelGeneration(
                pb.CancelGenerationRequest(id=self.id), timeout=CANCEL_SECONDS, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            self._call.cancel()
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise exceptions.from_rpc(error, self._address) from error

    def close(self) -> None:
        """Close the stream; work that has not ended is stopped."""
        self._stopping = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended is None:
            with contextlib.suppress(VisualMeshError):
                await self.cancel()
        self.close()

    async def _read(self) -> Event | None:
        """Return the next event, or None when the stream has ended; notes how it ended."""
        if self._ended is not None:
            return None
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._ended = exceptions.from_rpc(error, self._address)
            raise self._ended from error
        except asyncio.CancelledError:
            self._ended = GenerationCancelledError(
                "the generation was cancelled", reason="CANCELLED", code="CANCELLED"
            )
            # gRPC does this by itself, but for a task that is cancelled before the call has left.
            self._call.cancel()
            if self._stopping and self._call.cancelled() and not task_is_cancelled():
                raise self._ended from None
            raise
        if not isinstance(response, pb.GenerateResponse):
            self._ended = InternalError("the event stream ended without saying how the generation ended")
            raise self._ended
        event = events.read(response.event, self._download)
        self.id = event.generation_id
        match event:
            case Completed():
                self._ended = event.result
            case Failed():
                self._ended = event.error
        return event


def task_is_cancelled() -> bool:
    """Return whether the task that asks is being cancelled, and not only the call it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
