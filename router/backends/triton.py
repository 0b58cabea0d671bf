"""Text-to-image models on Triton: one decoupled stream a job, one response a step."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.backends.protocol import BackendEvent, Capabilities, Job, Output, Pixels, Preview, Step
from router.entries import BackendEntry
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError
from services.runtime.triton import TritonClient

Tensors = Mapping[str, NDArray[Any]]


class TritonBackend:
    """One text-to-image model of one Triton. The client stays the caller's to close."""

    def __init__(self, entry: BackendEntry, client: TritonClient) -> None:
        self._client = client
        self._model = entry.model
        self._needed = (entry.model, *entry.requires)
        self.capabilities = Capabilities(
            entry.modality, entry.limits.steps, entry.limits.images, entry.size.width, entry.size.height
        )

    async def probe(self) -> State:
        """Ask Triton for the model and those it calls; what is not even in the repository has no weights here."""
        missing = [model for model in self._needed if not await self._client.ready(model)]
        if not missing:
            return State.READY
        try:
            known = await self._client.index()
        except MeshError:
            return State.UNAVAILABLE
        return State.UNAVAILABLE if all(model in known for model in missing) else State.NEEDS_WEIGHTS

    async def execute(self, job: Job, timeout: float) -> AsyncGenerator[BackendEvent, None]:
        """Run a job; see `Backend.execute`."""
        responses = self._client.stream(self._model, _inputs(job), request_id=job.request_id, timeout=timeout)
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
