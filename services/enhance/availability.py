"""Which of the models that a plan wants are built here, asked before any work is done for it."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import grpc

from scrollintel.visual.v1 import errors_pb2, models_pb2, models_pb2_grpc
from services.runtime.deadline import budget
from services.runtime.errors import MeshError, calling

if TYPE_CHECKING:
    from scrollintel.visual.v1.models_pb2_grpc import ModelServiceAsyncStub

ASK_SECONDS = 5.0
ABSENT = frozenset({models_pb2.MODEL_STATE_NEEDS_WEIGHTS, models_pb2.MODEL_STATE_NOT_BUILT})


class Availability:
    """Asks the models server, over a channel that its owner closes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: ModelServiceAsyncStub = models_pb2_grpc.ModelServiceStub(channel)

    async def first_of(self, names: Sequence[str]) -> str:
        """Return the first of several models, each of which would do, that is built.

        Raises MeshError MODEL_NEEDS_WEIGHTS with what has to be done for each of them, NOT_FOUND for a name that is in
        no catalogue, and DEPENDENCY_UNAVAILABLE when the models server does not answer.
        """
        with calling("the models server"):
            found = await asyncio.gather(*(self._describe(name) for name in names))
        for model in found:
            if model.state not in ABSENT:
                return model.name
        wanted = "it is not" if len(names) == 1 else "none of them is"
        lines = [
            f"{' or '.join(names)} is needed, and {wanted} built on this installation:",
            *_remedies(found),
        ]
        raise MeshError(errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS, "\n".join(lines))

    async def _describe(self, name: str) -> models_pb2.Model:
        request = models_pb2.GetModelRequest(name=name)
        return (await self._stub.GetModel(request, timeout=budget(ASK_SECONDS))).model


def _remedies(models: Iterable[models_pb2.Model]) -> Iterable[str]:
    for model in models:
        if not model.commercial_use:
            yield f"{model.name}, whose licence ({model.licence}) is not for commercial use:"
        yield model.remedy or f"vmesh models build {model.name}"
