"""ModelService: the catalogue, what can be used of it now, and what is brought into memory for its callers."""

import asyncio
import base64
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import structlog

from scrollintel.visual.v1 import errors_pb2, models_pb2, models_pb2_grpc
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from services.models.cache.cache import Cache
from services.models.cache.ledger import Ledger, Phase, Resident
from services.models.cache.loading import Loader
from services.models.cache.memory import choose
from services.models.cache.moves import Moves, Times
from services.models.cache.recycling import Recycler
from services.models.cache.warmup import read_feed
from services.models.catalogue import CatalogueError, read_catalogue
from services.models.entry import Model, Residency
from services.models.export import Exporter
from services.models.presence import Presence, presence, served_repository
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
PHASES = {
    Phase.LOADING: models_pb2.MODEL_STATE_LOADING,
    Phase.READY: models_pb2.MODEL_STATE_READY,
    Phase.UNLOADING: models_pb2.MODEL_STATE_UNLOADING,
    Phase.QUARANTINED: models_pb2.MODEL_STATE_QUARANTINED,
}
RESIDENCIES = {
    Residency.PINNED: models_pb2.MODEL_RESIDENCY_PINNED,
    Residency.ON_DEMAND: models_pb2.MODEL_RESIDENCY_ON_DEMAND,
}

log = structlog.get_logger()


class ModelService(models_pb2_grpc.ModelServiceServicer):
    """Reads the catalogue against Triton's index and the weights under `home`; `cache` holds its models."""

    def __init__(
        self,
        catalogue: dict[str, Model],
        triton: TritonClient,
        home: Path,
        cache: Cache,
        exporter: Exporter,
    ) -> None:
        self._catalogue = catalogue
        self._triton = triton
        self._home = home
        self._cache = cache
        self._exporter = exporter

    async def ListModels(
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsResponse:
        """Return a page by name."""
        await self._read_again()
        known = sorted(self._catalogue)
        start = bisect_right(known, _decode_page_token(request.page_token))
        end = start + (request.page_size or DEFAULT_PAGE)
        names = known[start:end]
        return models_pb2.ListModelsResponse(
            models=await self._describe(names),
            next_page_token=_encode_page_token(names[-1]) if end < len(known) else "",
        )

    async def GetModel(
        self, request: models_pb2.GetModelRequest, context: Context
    ) -> models_pb2.GetModelResponse:
        """Return one entry."""
        await self._check_name(request.name)
        (model,) = await self._describe([request.name])
        return models_pb2.GetModelResponse(model=model)

    async def LoadModel(
        self, request: models_pb2.LoadModelRequest, context: Context
    ) -> models_pb2.LoadModelResponse:
        """Load one and return its entry."""
        await self._check_name(request.name)
        await self._cache.load(request.name)
        (model,) = await self._describe([request.name])
        return models_pb2.LoadModelResponse(model=model)

    async def UnloadModel(
        self, request: models_pb2.UnloadModelRequest, context: Context
    ) -> models_pb2.UnloadModelResponse:
        """Unload one and return its entry."""
        await self._check_name(request.name)
        await self._cache.unload(request.name)
        (model,) = await self._describe([request.name])
        return models_pb2.UnloadModelResponse(model=model)

    async def UseModel(
        self, requests: AsyncIterator[models_pb2.UseModelRequest], context: Context
    ) -> AsyncGenerator[models_pb2.UseModelResponse]:
        """Hold a lease for as long as the call is open."""
        name = await _name_of(requests)
        await self._check_name(name)
        async with AsyncExitStack() as lease:
            async with aclosing(self._cache.use(name, lease)) as phases:
                async for phase in phases:
                    yield models_pb2.UseModelResponse(state=PHASES[phase])
            failure = await _failure_of(requests)
        if failure is not None:
            self._cache.report(name, failure)

    async def ExportModel(
        self, request: models_pb2.ExportModelRequest, context: Context
    ) -> AsyncGenerator[models_pb2.ExportModelResponse]:
        """Export one, telling each stage."""
        await self._check_name(request.name)
        async with aclosing(self._exporter.export(request.name, request.target)) as stages:
            async for stage in stages:
                yield models_pb2.ExportModelResponse(message=stage.message, progress=stage.progress)

    async def _check_name(self, name: str) -> None:
        if name not in self._catalogue:
            await self._read_again()
        if name not in self._catalogue:
            raise MeshError(
                errors_pb2.ERROR_REASON_NOT_FOUND,
                f"there is no model {name!r}; there are: {', '.join(sorted(self._catalogue))}",
                field="name",
            )

    async def _read_again(self) -> None:
        """Take in the entries that this machine was given since the last look."""
        try:
            catalogue = await asyncio.to_thread(read_catalogue, self._home)
        except CatalogueError as error:
            log.warning("the catalogue cannot be read again", error=str(error))
            return
        for name in catalogue.keys() - self._catalogue.keys():
            self._cache.ledger.residents[name] = to_resident(catalogue[name])
            self._catalogue[name] = catalogue[name]

    async def _describe(self, names: list[str]) -> list[models_pb2.Model]:
        index, here = await asyncio.gather(self._index(), asyncio.to_thread(self._here, names))
        ledger = self._cache.ledger
        return [to_model(self._catalogue[name], index, here[name], ledger[name]) for name in names]

    async def _index(self) -> dict[str, str]:
        try:
            return await self._triton.index()
        except MeshError as error:
            # The catalogue can be read without Triton; nothing is ready then, which is what the states will say.
            log.warning("Triton's index not read", reason=error.name)
            return {}

    def _here(self, names: list[str]) -> dict[str, Presence]:
        return {name: presence(self._catalogue[name], self._home) for name in names}


def to_model(model: Model, index: Mapping[str, str], here: Presence, resident: Resident) -> models_pb2.Model:
    """Return an entry as it goes over the wire."""
    state, remedy = state_of(model, index, here)
    message = models_pb2.Model(
        name=model.name,
        family=model.family,
        task=model.task,
        state=PHASES.get(resident.phase, STATES[state]),
        licence=model.licence.spdx,
        commercial_use=model.licence.commercial_use,
        memory_bytes=model.memory_mib * MEBIBYTE,
        remedy=remedy,
        residency=RESIDENCIES[model.residency],
        resident_bytes=resident.measured if resident.phase is Phase.READY else 0,
        leases=resident.leases,
        waiting=resident.waiting,
    )
    if resident.loaded_at is not None:
        message.loaded_at.FromNanoseconds(int(resident.loaded_at * 1e9))
    return message


def to_resident(model: Model) -> Resident:
    """Return an entry as the cache keeps it."""
    return Resident(
        model.name, model.memory_mib * MEBIBYTE, model.residency is Residency.PINNED, model.requires
    )


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[ModelService]:
    """Read the catalogue, open the connection to Triton, see what it has loaded, and serve with them."""
    catalogue = await asyncio.to_thread(read_catalogue, settings.home)
    budget, meter = await asyncio.to_thread(choose, settings.memory_mib, settings.triton_pid_file)
    times = Times(
        load=settings.load_seconds,
        unload=settings.unload_seconds,
        drain=settings.drain_seconds,
        restart=settings.restart_seconds,
        poll=settings.poll_seconds,
    )

    def absent(name: str) -> MeshError:
        """Say how a model that Triton does not know gets into its repository."""
        _, remedy = state_of(catalogue[name], {}, presence(catalogue[name], settings.home))
        message = f"{name} is not in Triton's repository: {remedy or 'restart Triton'}"
        return MeshError(errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS, message)

    async with TritonClient(settings.triton_address) as triton:
        feeds = partial(read_feed, served_repository(settings.home))
        loader = Loader(triton, meter, feeds, times.restart)
        ledger = Ledger(budget, {name: to_resident(model) for name, model in catalogue.items()})
        recycler = Recycler(loader, settings.growth_mib * MEBIBYTE)
        moves = Moves(ledger, loader, recycler, times, settings.manage)
        async with Cache(ledger, moves, absent) as cache:
            exporter = Exporter(settings.home, settings.allow_noncommercial)
            yield ModelService(catalogue, triton, settings.home, cache, exporter)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the model server."""
    return ServerSpec(
        name="models",
        settings=settings or Settings(),
        services=[models_pb2.DESCRIPTOR.services_by_name["ModelService"]],
        build=build,
        register=models_pb2_grpc.add_ModelServiceServicer_to_server,
    )


async def _name_of(requests: AsyncIterator[models_pb2.UseModelRequest]) -> str:
    async for request in requests:
        if request.WhichOneof("message") == "name":
            return request.name
        break
    rule = "name: the first request must name the model"
    raise MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field="name")


async def _failure_of(requests: AsyncIterator[models_pb2.UseModelRequest]) -> ErrorReason.ValueType | None:
    """Wait for the lease to end and return what its holder says that its work failed with."""
    async for request in requests:
        if request.WhichOneof("message") == "failure":
            return request.failure
        rule = "name: must be given once; a lease is on one model, another call is another lease"
        raise MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field="name")
    return None


def _encode_page_token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode("ascii")


def _decode_page_token(token: str) -> str:
    """Return the last name of the page before; empty for the first page."""
    try:
        return base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        rule = "page_token: must be the next_page_token of the page before"
        raise MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field="page_token") from None
