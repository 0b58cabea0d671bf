"""ModelService: the catalogue, and what can be used of it now."""

import asyncio
import base64
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import structlog

from scrollintel.visual.v1 import errors_pb2, models_pb2, models_pb2_grpc
from services.models.catalogue import read_catalogue
from services.models.entry import Model
from services.models.presence import Presence, presence
from services.models.settings import Settings
from services.models.state import State, state_of
from services.runtime.errors import MeshError
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

DEFAULT_PAGE = 50
MEBIBYTE = 1 << 20
STATES = {
    State.READY: models_pb2.MODEL_STATE_READY,
    State.LOADABLE: models_pb2.MODEL_STATE_LOADABLE,
    State.NOT_BUILT: models_pb2.MODEL_STATE_NOT_BUILT,
    State.NEEDS_WEIGHTS: models_pb2.MODEL_STATE_NEEDS_WEIGHTS,
}

log = structlog.get_logger()


class ModelService(models_pb2_grpc.ModelServiceServicer):
    """Reads the catalogue against Triton's index and the weights under `home`."""

    def __init__(self, catalogue: Mapping[str, Model], triton: TritonClient, home: Path) -> None:
        self._catalogue = catalogue
        self._names = sorted(catalogue)
        self._triton = triton
        self._home = home

    async def ListModels(
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsResponse:
        """Return a page by name."""
        start = bisect_right(self._names, _decode_page_token(request.page_token))
        end = start + (request.page_size or DEFAULT_PAGE)
        names = self._names[start:end]
        return models_pb2.ListModelsResponse(
            models=await self._describe(names),
            next_page_token=_encode_page_token(names[-1]) if end < len(self._names) else "",
        )

    async def GetModel(
        self, request: models_pb2.GetModelRequest, context: Context
    ) -> models_pb2.GetModelResponse:
        """Return one entry."""
        if request.name not in self._catalogue:
            raise MeshError(
                errors_pb2.ERROR_REASON_NOT_FOUND,
                f"there is no model {request.name!r}; there are: {', '.join(self._names)}",
                field="name",
            )
        (model,) = await self._describe([request.name])
        return models_pb2.GetModelResponse(model=model)

    async def _describe(self, names: list[str]) -> list[models_pb2.Model]:
        index, here = await asyncio.gather(self._index(), asyncio.to_thread(self._here, names))
        return [to_model(self._catalogue[name], index, here[name]) for name in names]

    async def _index(self) -> dict[str, str]:
        try:
            return await self._triton.index()
        except MeshError as error:
            # The catalogue can be read without Triton; nothing is ready then, which is what the states will say.
            log.warning("Triton's index not read", reason=error.name)
            return {}

    def _here(self, names: list[str]) -> dict[str, Presence]:
        return {name: presence(self._catalogue[name], self._home) for name in names}


def to_model(model: Model, index: Mapping[str, str], here: Presence) -> models_pb2.Model:
    """Return an entry as it goes over the wire."""
    state, remedy = state_of(model, index, here)
    return models_pb2.Model(
        name=model.name,
        family=model.family,
        task=model.task,
        state=STATES[state],
        licence=model.licence.spdx,
        commercial_use=model.licence.commercial_use,
        memory_bytes=model.memory_mib * MEBIBYTE,
        remedy=remedy,
    )


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[ModelService]:
    """Read the catalogue, open the connection to Triton, and serve with them."""
    catalogue = await asyncio.to_thread(read_catalogue)
    async with TritonClient(settings.triton_address) as triton:
        yield ModelService(catalogue, triton, settings.home)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the model server."""
    return ServerSpec(
        name="models",
        settings=settings or Settings(),
        services=[models_pb2.DESCRIPTOR.services_by_name["ModelService"]],
        build=build,
        register=models_pb2_grpc.add_ModelServiceServicer_to_server,
    )


def _encode_page_token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode("ascii")


def _decode_page_token(token: str) -> str:
    """Return the last name of the page before; empty for the first page."""
    try:
        return base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        rule = "page_token: must be the next_page_token of the page before"
        raise MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field="page_token") from None
