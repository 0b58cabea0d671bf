"""The registry of protected works: what was registered, by whom, and every replica's copy of the hashes."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from scrollintel.visual.v1 import errors_pb2
from services.runtime.database import Database
from services.runtime.errors import MeshError
from services.safety.works import pdq
from services.safety.works.embedding import LENGTH, Vector
from services.safety.works.shelf import Shelf
from services.safety.works.tables import works

Stored: TypeAlias = sa.Row[tuple[int, str, bytes, bytes]]

MOST = 100_000  # works of all tenants: every picture is held against each of them
MOST_OF_TENANT = 10_000


@dataclass(frozen=True)
class Work:
    """A work that is to be registered, or was. `asked` is what equal requests of a tenant have in common."""

    id: str
    tenant: str
    request_id: str
    asked: str
    holder: str
    hash: NDArray[np.uint8]
    embedding: Vector
    created: datetime


@dataclass(frozen=True)
class Kept:
    """A work with its place in the listing."""

    sequence: int
    id: str
    holder: str
    created: datetime


class Registry:
    """Keeps works, and holds their hashes in memory. Belongs to one event loop.

    Raises MeshError DEPENDENCY_UNAVAILABLE when the database does not answer in time.
    """

    def __init__(
        self, database: Database, fresh_seconds: float, most: int = MOST, most_of_tenant: int = MOST_OF_TENANT
    ) -> None:
        self._database = database
        self._fresh_seconds = fresh_seconds
        self._most = most
        self._most_of_tenant = most_of_tenant
        self._shelf = Shelf.empty()
        self._looked = -math.inf
        self._changes = 0  # made by this replica, and how many of them the shelf was read after
        self._changes_read = 0
        self._looking = asyncio.Lock()

    async def shelf(self) -> Shelf:
        """Return all hashes, as they were `fresh_seconds` ago at the longest."""
        async with self._looking:
            begun, changes = time.monotonic(), self._changes
            if begun - self._looked > self._fresh_seconds or changes != self._changes_read:
                self._shelf = await self._database.read(self._read)
                self._looked, self._changes_read = begun, changes
        return self._shelf

    async def register(self, work: Work) -> str:
        """Keep a work and return its id: that of the first, where a tenant registers the same for the same holder again.

        On PostgreSQL requests of one moment may together pass the bounds, by as many as there are writers.
        Raises MeshError REQUEST_ID_REUSED, QUOTA_EXHAUSTED.
        """

        def keep(connection: sa.Connection) -> str:
            if (known := _known(connection, work)) is not None:
                return known
            self._require_room(connection, work.tenant)
            try:
                with connection.begin_nested():
                    connection.execute(works.insert().values(_row(work)))
            except sa.exc.IntegrityError:  # another replica was quicker
                if (known := _known(connection, work)) is None:
                    raise
                return known
            return work.id

        made = await self._database.write(keep)
        self._changes += 1  # it holds for this replica's next picture
        return made

    async def page(self, tenant: str, before: int | None, size: int) -> list[Kept]:
        """Return up to `size` works that a tenant registered, newest first, those before sequence `before` if given."""
        columns = (works.c.sequence, works.c.id, works.c.holder, works.c.created)
        query = sa.select(*columns).where(works.c.tenant == tenant)
        if before is not None:
            query = query.where(works.c.sequence < before)
        query = query.order_by(works.c.sequence.desc()).limit(size)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Kept(*row) for row in rows]

    async def remove(self, tenant: str, work_id: str) -> bool:
        """Take out a work that a tenant registered; tell whether it was there."""
        statement = works.delete().where(works.c.tenant == tenant, works.c.id == work_id)
        gone = await self._database.write(lambda connection: connection.execute(statement).rowcount > 0)
        self._changes += 1
        return gone

    def _read(self, connection: sa.Connection) -> Shelf:
        """Return the shelf with what has been registered since, or read anew where something was taken out."""
        count = connection.execute(sa.select(sa.func.count()).select_from(works)).scalar_one()
        later = _rows(connection, self._shelf.last)
        if len(self._shelf) + len(later) == count:
            return self._shelf.with_more(*_columns(later)) if later else self._shelf
        return Shelf.empty().with_more(*_columns(_rows(connection, 0)))

    def _require_room(self, connection: sa.Connection, tenant: str) -> None:
        counted = sa.select(sa.func.count()).select_from(works)
        bounds = (
            (counted, self._most, "the mesh"),
            (counted.where(works.c.tenant == tenant), self._most_of_tenant, "you"),
        )
        for query, most, who in bounds:
            if connection.execute(query).scalar_one() >= most:
                raise MeshError(
                    errors_pb2.ERROR_REASON_QUOTA_EXHAUSTED,
                    f"{who} protect{'s' if who != 'you' else ''} {most:,} works, as many as may be registered; "
                    "remove some first",
                )


def _known(connection: sa.Connection, work: Work) -> str | None:
    """Return the id that an equal request was answered with; raises MeshError where its request_id stands for another."""
    own = sa.select(works.c.id, works.c.asked).where(works.c.tenant == work.tenant)
    if work.request_id:
        there = connection.execute(own.where(works.c.request_id == work.request_id)).first()
        if there is not None and there.asked != work.asked:
            raise MeshError(
                errors_pb2.ERROR_REASON_REQUEST_ID_REUSED,
                f"request_id {work.request_id!r} registered another work; use another one",
                field="request_id",
            )
    same = connection.execute(own.where(works.c.asked == work.asked)).first()
    return None if same is None else str(same.id)


def _row(work: Work) -> dict[str, object]:
    return {
        "id": work.id,
        "tenant": work.tenant,
        "request_id": work.request_id or None,
        "asked": work.asked,
        "holder": work.holder,
        "hash": work.hash.tobytes(),
        "embedding": work.embedding.astype(np.float16).tobytes(),
        "created": work.created,
    }


def _rows(connection: sa.Connection, after: int) -> Sequence[Stored]:
    columns = (works.c.sequence, works.c.id, works.c.hash, works.c.embedding)
    query = sa.select(*columns).where(works.c.sequence > after)
    return connection.execute(query.order_by(works.c.sequence)).all()


def _columns(rows: Sequence[Stored]) -> tuple[int, list[str], NDArray[np.uint8], NDArray[np.float16]]:
    """Return the last sequence, ids, hashes and embeddings of rows in order; ValueError for what has another size."""
    hashes = np.frombuffer(b"".join(row.hash for row in rows), np.uint8).reshape(len(rows), pdq.BYTES)
    vectors = np.frombuffer(b"".join(row.embedding for row in rows), np.float16).reshape(len(rows), LENGTH)
    return (rows[-1].sequence if rows else 0), [row.id for row in rows], hashes, vectors
