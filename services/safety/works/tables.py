"""The table of protected works."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa

from services.runtime.database import SEQUENCE, Database, open_database

_metadata = sa.MetaData()

works = sa.Table(
    "protected_works",
    _metadata,
    sa.Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("tenant", sa.String(128), nullable=False),  # who registered it
    sa.Column("request_id", sa.String(64)),
    sa.Column("asked", sa.String(64), nullable=False),  # what equal requests have in common
    sa.Column("holder", sa.String(200), nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("embedding", sa.LargeBinary, nullable=False),  # FP16
    sa.Column("created", sa.DateTime, nullable=False),  # UTC
    sa.UniqueConstraint("tenant", "request_id"),
    sa.UniqueConstraint("tenant", "asked"),
    sqlite_autoincrement=True,  # a number is never used again: what was registered later has a higher one
)


@asynccontextmanager
async def open_tables(url: str) -> AsyncIterator[Database]:
    """Open the table at an SQLAlchemy URL, making it where it is not there; close it on leaving."""
    async with open_database(url, "the registry of protected works", _metadata) as database:
        yield database
