"""The part of SafetyService that keeps the registry of protected works."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import grpc

from scrollintel.visual.v1 import errors_pb2, safety_pb2
from services.runtime import identity, images
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore
from services.runtime.deadline import budget
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError
from services.runtime.threads import in_thread
from services.runtime.turns import turn_with_threads
from services.safety.settings import Settings
from services.safety.works import pdq
from services.safety.works.embedding import Embedder
from services.safety.works.registry import Kept, Registry, Work

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

DEFAULT_PAGE = 50
PLAINEST = 50  # of 100: Meta's advice, below which pictures of different things have like hashes

# First estimate of one registration, for those that wait.
REGISTER_SECONDS = 0.3


class Works:
    """Registers pictures, a few at a time, and lists and removes what a tenant registered."""

    def __init__(self, registry: Registry, embedder: Embedder, blobs: BlobStore, settings: Settings) -> None:
        self._registry = registry
        self._embedder = embedder
        self._blobs = blobs
        self._seconds = settings.picture_seconds
        self._turns = Admission(settings.works_at_once, settings.works_waiting, REGISTER_SECONDS)

    async def register(self, tenant: str, request: safety_pb2.RegisterProtectedWorkRequest) -> str:
        """Hash and embed a stored picture, keep what came of it, and return the work's id."""
        async with turn_with_threads(self._turns), _within(self._seconds):
            data = await self._blobs.get(request.media)
            picture = await images.decode(data)
            seen = await in_thread(pdq.hash_of, picture)
            if seen.quality < PLAINEST:
                raise MeshError(
                    errors_pb2.ERROR_REASON_FIELD_INVALID,
                    f"media: shows too little to be told from other pictures: {seen.quality} of 100, "
                    f"and {PLAINEST} are needed",
                    field="media",
                )
            vector = await self._embedder.embed(picture)
        asked = hashlib.sha256(hashlib.sha256(data).digest() + request.holder.encode()).hexdigest()
        made = datetime.now(UTC).replace(tzinfo=None)
        work = Work(
            uuid.uuid4().hex, tenant, request.request_id, asked, request.holder, seen.own, vector, made
        )
        return await self._registry.register(work)

    async def page(self, tenant: str, size: int, token: str) -> tuple[list[Kept], str]:
        """Return a page of a tenant's works, and the token of the next, empty on the last."""
        found = await self._registry.page(tenant, _place(token), size + 1)
        return found[:size], str(found[size - 1].sequence) if len(found) > size else ""

    async def remove(self, tenant: str, work_id: str) -> None:
        """Take out a tenant's work; raises MeshError NOT_FOUND."""
        if not await self._registry.remove(tenant, work_id):
            raise MeshError(
                errors_pb2.ERROR_REASON_NOT_FOUND,
                f"there is no protected work {work_id!r} of this tenant",
                field="id",
            )


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """End the block when that long has passed, or the caller's time; raises MeshError DEPENDENCY_UNAVAILABLE."""
    try:
        async with asyncio.timeout(budget(seconds)):
            yield
    except TimeoutError:
        raise MeshError(
            errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
            "the work could not be read in time; try again shortly",
            retry_after=DEFAULT_RETRY_SECONDS,
        ) from None


def _place(token: str) -> int | None:
    """Return the sequence that a page token names; None for the first page."""
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise MeshError(
            errors_pb2.ERROR_REASON_FIELD_INVALID,
            "page_token: is not one that this listing gave",
            field="page_token",
        )
    return int(token)


class WorksRpcs:
    """The rpcs, for the servicer that has `_works`."""

    _works: Works

    async def RegisterProtectedWork(
        self, request: safety_pb2.RegisterProtectedWorkRequest, context: Context
    ) -> safety_pb2.RegisterProtectedWorkResponse:
        """Add a work for the whole mesh, in the name of the caller's tenant."""
        made = await self._works.register(identity.current().tenant, request)
        return safety_pb2.RegisterProtectedWorkResponse(id=made)

    async def ListProtectedWorks(
        self, request: safety_pb2.ListProtectedWorksRequest, context: Context
    ) -> safety_pb2.ListProtectedWorksResponse:
        """Read a page of what the caller's tenant registered."""
        size = request.page_size or DEFAULT_PAGE
        page, token = await self._works.page(identity.current().tenant, size, request.page_token)
        response = safety_pb2.ListProtectedWorksResponse(next_page_token=token)
        for kept in page:
            response.works.add(id=kept.id, holder=kept.holder).created_at.FromDatetime(kept.created)
        return response

    async def RemoveProtectedWork(
        self, request: safety_pb2.RemoveProtectedWorkRequest, context: Context
    ) -> safety_pb2.RemoveProtectedWorkResponse:
        """Take out what the caller's tenant registered."""
        await self._works.remove(identity.current().tenant, request.id)
        return safety_pb2.RemoveProtectedWorkResponse()
