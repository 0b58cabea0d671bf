"""The tables of the quality server: what is remembered of pictures, and of models."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa

from services.runtime.database import SEQUENCE, Database, open_database

_metadata = sa.MetaData()

embeddings = sa.Table(
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

charts = sa.Table(
    "charts",
    _metadata,
    sa.Column("model", sa.String(128), primary_key=True),
    sa.Column("score", sa.String(64), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("mean", sa.Double, nullable=False),
    sa.Column("squares", sa.Double, nullable=False),
    sa.Column("average", sa.Double, nullable=False),
)


@asynccontextmanager
async def open_tables(url: str) -> AsyncIterator[Database]:
    """Open the tables at an SQLAlchemy URL, making those that are not there; close them on leaving."""
    async with open_database(url, "the memory of the quality server", _metadata) as database:
        yield database
