"""The embeddings of each tenant's newest results."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from services.quality.uniqueness import Vector, Vectors
from services.runtime.database import SEQUENCE, Database, open_database

KEPT = 2000  # embeddings of one tenant; the oldest is forgotten first
STORED = np.float16  # a cosine keeps three digits, in half the space

_metadata = sa.MetaData()
_embeddings = sa.Table(
    "embeddings",
    _metadata,
    sa.Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String(128), nullable=False),
    sa.Column("space", sa.String(64), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("tenant", "space", "sha256"),
    sa.Index("embeddings_by_tenant", "tenant", "sequence"),
    sqlite_autoincrement=True,  # a number is never used again: a later picture has a higher one
)


@dataclass(frozen=True)
class Picture:
    """A picture of a tenant. Embeddings of different spaces, those of another training, are never compared."""

    tenant: str
    space: str
    sha256: str


@dataclass(frozen=True)
class History:
    """Keeps and reads embeddings. Raises MeshError DEPENDENCY_UNAVAILABLE when the database does not answer in time."""

    database: Database
    kept: int = KEPT

    async def earlier(self, picture: Picture) -> Vectors:
        """Return the embeddings [n, d] of the tenant's pictures that were kept before this one was, newest first.

        All of them when this one was not kept; never those of another tenant.
        """

        def read(connection: sa.Connection) -> Vectors:
            mine = _tenants(picture)
            own = sa.select(_embeddings.c.sequence).where(mine, _embeddings.c.sha256 == picture.sha256)
            before = connection.execute(own).scalar_one_or_none()
            query = sa.select(_embeddings.c.vector).where(mine)
            if before is not None:
                query = query.where(_embeddings.c.sequence < before)
            query = query.order_by(_embeddings.c.sequence.desc()).limit(self.kept)
            vectors = [np.frombuffer(row, STORED) for row in connection.execute(query).scalars()]
            return np.stack(vectors).astype(np.float32) if vectors else np.empty((0, 0), np.float32)

        return await self.database.read(read)

    async def keep(self, picture: Picture, embedding: Vector) -> None:
        """Keep a picture's embedding, once, and forget the tenant's oldest beyond `kept`."""
        row = {**vars(picture), "vector": embedding.astype(STORED).tobytes()}

        def write(connection: sa.Connection) -> None:
            known = sa.select(_embeddings.c.sequence).where(
                _tenants(picture), _embeddings.c.sha256 == picture.sha256
            )
            if connection.execute(known).first() is not None:
                return
            try:
                with connection.begin_nested():
                    connection.execute(_embeddings.insert().values(row))
            except sa.exc.IntegrityError:  # another replica was quicker
                return
            of_tenant = sa.select(_embeddings.c.sequence).where(_embeddings.c.tenant == picture.tenant)
            oldest = of_tenant.order_by(_embeddings.c.sequence.desc()).offset(self.kept).limit(1)
            beyond = connection.execute(oldest).scalar_one_or_none()
            if beyond is not None:
                connection.execute(
                    _embeddings.delete().where(
                        _embeddings.c.tenant == picture.tenant, _embeddings.c.sequence <= beyond
                    )
                )

        await self.database.write(write)


@asynccontextmanager
async def open_history(url: str) -> AsyncIterator[History]:
    """Open the table at an SQLAlchemy URL, making it when it is not there; close it on leaving."""
    async with open_database(url, "the history of pictures", _metadata) as database:
        yield History(database)


def _tenants(picture: Picture) -> sa.ColumnElement[bool]:
    return sa.and_(_embeddings.c.tenant == picture.tenant, _embeddings.c.space == picture.space)
