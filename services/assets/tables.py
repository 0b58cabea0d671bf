"""The tables of the asset server: assets, and the templates of tenants' own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa

from services.runtime.database import SEQUENCE, Database, open_database

_metadata = sa.MetaData()

assets = sa.Table(
    "assets",
    _metadata,
    sa.Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String(128), nullable=False),
    sa.Column("id", sa.String(128), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, index=True),
    sa.Column("media_type", sa.String(127), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("frames", sa.Integer, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("generation_id", sa.String(64), nullable=False),
    sa.Column("quality", sa.LargeBinary),
    sa.Column("seed", sa.BigInteger),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.UniqueConstraint("tenant", "id"),
    sa.Index("assets_by_tenant", "tenant", "sequence"),
    sqlite_autoincrement=True,  # a number is never used again, so a page token never points at a newer asset
)

templates = sa.Table(
    "templates",
    _metadata,
    sa.Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String(128), nullable=False),
    sa.Column("id", sa.String(64), nullable=False),
    sa.Column(
        "request_id", sa.String(64)
    ),  # NULL where the request had none: any number of those are unequal
    sa.Column("asked", sa.String(64), nullable=False),  # SHA-256 of the request, to know it again
    sa.Column("template", sa.LargeBinary, nullable=False),  # the serialized StoredTemplate
    sa.UniqueConstraint("tenant", "id"),
    sa.UniqueConstraint("tenant", "request_id"),
    sa.Index("templates_by_tenant", "tenant", "sequence"),
    sqlite_autoincrement=True,
)


@asynccontextmanager
async def open_tables(url: str) -> AsyncIterator[Database]:
    """Open the tables at an SQLAlchemy URL, making those that are not there; close them on leaving."""
    async with open_database(url, "the records of assets", _metadata) as database:
        yield database
