"""Text-to-image models on Triton: one decoupled stream a job, one response a step."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from router.backends.protocol import (
    BackendEvent,
    Capabilities,
    Job,
    Loaded,
    Output,
    Pixels,
    Preview,
    Step,
)
from router.entries import BackendEntry
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError
from services.runtime.triton import TritonClient

Tensors = Mapping[str, NDArray[Any]]


class Leases(Protocol):
    """What brings a model into memory and keeps it there: `services.runtime.models.Models`."""

    def use(self, model: str, *, timeout: float) -> AbstractAsyncContextManager[object]:
        """Load the model if need be and hold it while the body runs. Raises MeshError."""


class TritonBackend:
    """One text-to-image model of one Triton. The client and the leases stay the caller's to close."""

    def __init__(self, entry: BackendEntry, client: TritonClient, leases: Leases) -> None:
        self._client = client
        self._leases = leases
        self._on_demand = entry.on_demand
        self._told_size = len(entry.sizes) > 1
        self._model = entry.model
        self._needed = (entry.model, *entry.requires)
        self.capabilities = Capabilities(entry.modality, entry.limits.steps, entry.limits.images, entry.sizes)

    async def probe(self) -> State:
        """Ask Triton for the model and those it calls; what is not even in the repository has no weights here.

        A model on demand that is not loaded is LOADABLE where the ones it calls are ready.
        """
        missing = [model for model in self._needed if not await self._client.ready(model)]
        if not missing:
            return State.READY
        try:
            known = await self._client.index()
        except MeshError:
            return State.UNAVAILABLE
        if not all(model in known for model in missing):
            return State.NEEDS_WEIGHTS
        return State.LOADABLE if self._on_demand and missing == [self._model] else State.UNAVAILABLE

    async def execute(self, job: Job, timeout: float) -> AsyncGenerator[BackendEvent, None]:
        """Run a job; see `Backend.execute`."""
        clock = asyncio.get_running_loop().time
        async with AsyncExitStack() as stack:
            if self._on_demand:
                cold, began = not await self._client.ready(self._model), clock()
                await stack.enter_async_context(self._leases.use(self._model, timeout=timeout))
                if cold:
                    yield Loaded(clock() - began)
                timeout -= clock() - began
            async with aclosing(self._draw(job, timeout)) as events:
                async for event in events:
                    yield event

    async def _draw(self, job: Job, timeout: float) -> AsyncGenerator[BackendEvent, None]:
        inputs = _inputs(job) | (_size(job) if self._told_size else {})
        responses = self._client.stream(self._model, inputs, request_id=job.request_id, timeout=timeout)
        done = False
        async with aclosing(responses):
            async for response in responses:
                for event in self._events(job, response):
                    done = done or isinstance(event, Output)
                    yield event
        if not done:
            raise self._rubbish("ended without a picture")

    def _events(self, job: Job, response: Tensors) -> Iterator[BackendEvent]:
        try:
            step, previews, images = response["step"], response["preview"], response["images"]
        except KeyError as error:
            raise self._rubbish(f"left out {error.args[0]}") from error
        if step.shape != (2,):
            raise self._rubbish("answered with a step of another shape")
        yield Step(int(step[0]), int(step[1]))
        if images.size:
            for index, (seed, pixels) in enumerate(zip(job.seeds, self._pictures(job, images), strict=True)):
                yield Output(index, seed, pixels)
        elif previews.size:  # the last step's preview would only repeat the pictures
            for index, pixels in enumerate(self._pictures(job, previews)):
                yield Preview(index, pixels)

    def _pictures(self, job: Job, batch: NDArray[Any]) -> Pixels:
        if (
            batch.dtype != np.uint8
            or batch.ndim != 4
            or batch.shape[0] != len(job.seeds)
            or batch.shape[3] != 3
        ):
            raise self._rubbish("answered with pictures of another shape")
        return batch

    def _rubbish(self, what: str) -> MeshError:
        return MeshError(
            errors_pb2.ERROR_REASON_MODEL_FAILED,
            f"{self._model} {what}; try again or another model",
            retry_after=DEFAULT_RETRY_SECONDS,
        )


def _inputs(job: Job) -> dict[str, NDArray[Any]]:
    return {
        "prompt": np.array([job.prompt], dtype=np.object_),
        "negative_prompt": np.array([job.negative_prompt], dtype=np.object_),
        "seeds": np.array(job.seeds, dtype=np.int64),
        "steps": np.array([job.steps], dtype=np.int32),
        "guidance_scale": np.array([job.guidance_scale], dtype=np.float32),
        "preview_every": np.array([job.preview_every], dtype=np.int32),
    }


def _size(job: Job) -> dict[str, NDArray[Any]]:
    return {"size": np.array(job.size, dtype=np.int32)}
