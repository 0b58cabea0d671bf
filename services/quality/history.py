"""The embeddings of each tenant's newest results."""

from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from services.quality.tables import embeddings
from services.quality.uniqueness import Vector, Vectors
from services.runtime.database import Database

KEPT = 2000  # embeddings of one tenant; the oldest is forgotten first
STORED = np.float16  # a cosine keeps three digits, in half the space


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
            own = sa.select(embeddings.c.sequence).where(mine, embeddings.c.sha256 == picture.sha256)
            before = connection.execute(own).scalar_one_or_none()
            query = sa.select(embeddings.c.vector).where(mine)
            if before is not None:
                query = query.where(embeddings.c.sequence < before)
            query = query.order_by(embeddings.c.sequence.desc()).limit(self.kept)
            vectors = [np.frombuffer(row, STORED) for row in connection.execute(query).scalars()]
            return np.stack(vectors).astype(np.float32) if vectors else np.empty((0, 0), np.float32)

        return await self.database.read(read)

    async def keep(self, picture: Picture, embedding: Vector) -> None:
        """Keep a picture's embedding, once, and forget the tenant's oldest beyond `kept`."""
        row = {**vars(picture), "vector": embedding.astype(STORED).tobytes()}

        def write(connection: sa.Connection) -> None:
            known = sa.select(embeddings.c.sequence).where(
                _tenants(picture), embeddings.c.sha256 == picture.sha256
            )
            if connection.execute(known).first() is not None:
                return
            try:
                with connection.begin_nested():
                    connection.execute(embeddings.insert().values(row))
            except sa.exc.IntegrityError:  # another replica was quicker
                return
            of_tenant = sa.select(embeddings.c.sequence).where(embeddings.c.tenant == picture.tenant)
            oldest = of_tenant.order_by(embeddings.c.sequence.desc()).offset(self.kept).limit(1)
            beyond = connection.execute(oldest).scalar_one_or_none()
            if beyond is not None:
                connection.execute(
                    embeddings.delete().where(
                        embeddings.c.tenant == picture.tenant, embeddings.c.sequence <= beyond
                    )
                )

        await self.database.write(write)


def _tenants(picture: Picture) -> sa.ColumnElement[bool]:
    return sa.and_(embeddings.c.tenant == picture.tenant, embeddings.c.space == picture.space)
