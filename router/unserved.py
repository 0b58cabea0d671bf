"""Models that the catalogue knows and no backend serves: what a caller who names one is told."""

from typing import TYPE_CHECKING, Any

import grpc

from scrollintel.visual.v1 import errors_pb2, models_pb2, models_pb2_grpc
from services.runtime.deadline import budget
from services.runtime.errors import MeshError, calling

if TYPE_CHECKING:
    from scrollintel.visual.v1.models_pb2_grpc import ModelServiceAsyncStub

ASK_SECONDS = 5.0  # a machine with all its cores at work once took more than one second


class Unserved:
    """Asks the models server, over a channel that stays its owner's."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: ModelServiceAsyncStub = models_pb2_grpc.ModelServiceStub(channel)

    async def explain(self, unknown: MeshError, model: str) -> MeshError:
        """Return the error for a model that no backend serves: what it needs if the catalogue knows it, else `unknown`."""
        try:
            with calling("the models server"):
                request = models_pb2.GetModelRequest(name=model)
                answer: Any = await self._stub.GetModel(request, timeout=budget(ASK_SECONDS))
        except MeshError:
            return unknown  # it knows no such model either, or cannot be asked; what was said stays true
        known: models_pb2.Model = answer.model
        if not known.remedy:
            return unknown
        lacks = "needs weights" if known.state == models_pb2.MODEL_STATE_NEEDS_WEIGHTS else "is not built"
        return MeshError(
            errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS,
            f"image.model_preference: {known.name} {lacks}: {known.remedy}",
            field="image.model_preference",
        )
