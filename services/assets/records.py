"""The table of assets, on SQLAlchemy: SQLite on one machine, any other database by its URL.

Calls run on threads of their own, one writer and a few readers, so that no query holds up the event loop and
SQLite never sees two writers.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.pool import ConnectionPoolEntry

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

log = structlog.get_logger()

T = TypeVar("T")

READERS = 2
STATEMENT_SECONDS = 10.0
BUSY_MILLISECONDS = 5_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)  # integers, not floats: a time comes back as it went in

_metadata = sa.MetaData()
# BIGINT that SQLite still counts up by itself: it does so only for a column declared INTEGER.
_Sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_assets = sa.Table(
    "assets",
    _metadata,
    sa.Column("sequence", _Sequence, primary_key=True, autoincrement=True),
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


@dataclass(frozen=True)
class Record:
    """What is kept about an asset.

    `quality` is the serialized QualityMetrics: this room keeps scores, it does not read them. `sequence` grows
    with every asset stored and is 0 before that.
    """

    tenant: str
    id: str
    sha256: str
    media_type: str
    size_bytes: int
    width: int
    height: int
    frames: int
    generation_id: str = ""
    quality: bytes | None = None
    seed: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    sequence: int = 0


class Records:
    """Reads and writes records. Raises MeshError DEPENDENCY_UNAVAILABLE when the database does not answer in time."""

    def __init__(self, engine: sa.Engine, writer: ThreadPoolExecutor, readers: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._writer = writer
        self._readers = readers

    async def insert(self, record: Record) -> Record:
        """Store a record and return it with its sequence; when its tenant and id are taken, return the one there."""

        def work() -> Record:
            try:
                with self._engine.begin() as connection:
                    (sequence,) = connection.execute(
                        _assets.insert().values(_to_row(record)).returning(_assets.c.sequence)
                    ).one()
            except sa.exc.IntegrityError:
                there = self._find(record.tenant, record.id)
                if there is None:
                    raise
                return there
            return Record(**{**vars(record), "sequence": sequence})

        return await _within(self._writer, work)

    async def get(self, tenant: str, asset_id: str) -> Record | None:
        """Return a tenant's asset of that id, or None."""
        return await _within(self._readers, lambda: self._find(tenant, asset_id))

    async def page(self, tenant: str, before: int | None, size: int) -> list[Record]:
        """Return up to `size` of a tenant's assets, newest first, those before sequence `before` when it is given."""
        query = _assets.select().where(_assets.c.tenant == tenant)
        if before is not None:
            query = query.where(_assets.c.sequence < before)
        query = query.order_by(_assets.c.sequence.desc()).limit(size)

        def work() -> list[Record]:
            with self._engine.connect() as connection:
                return [_from_row(row) for row in connection.execute(query)]

        return await _within(self._readers, work)

    async def delete(self, tenant: str, asset_id: str) -> Record | None:
        """Remove a tenant's asset and return what it was, or None when there is none."""

        def work() -> Record | None:
            with self._engine.begin() as connection:
                row = connection.execute(_where(_assets.select(), tenant, asset_id)).first()
                if row is None:
                    return None
                connection.execute(_assets.delete().where(_assets.c.sequence == row.sequence))
                return _from_row(row)

        return await _within(self._writer, work)

    async def empty(self) -> bool:
        """Return whether there is no record at all."""

        def work() -> bool:
            with self._engine.connect() as connection:
                return connection.execute(sa.select(_assets.c.sha256).limit(1)).first() is None

        return await _within(self._readers, work)

    async def references(self, sha256: str) -> int:
        """Count the assets, of all tenants, that have these bytes."""
        query = sa.select(sa.func.count()).select_from(_assets).where(_assets.c.sha256 == sha256)

        def work() -> int:
            with self._engine.connect() as connection:
                return int(connection.execute(query).scalar_one())

        # On the writer: it must see every write that was asked for before it.
        return await _within(self._writer, work)

    def _find(self, tenant: str, asset_id: str) -> Record | None:
        with self._engine.connect() as connection:
            row = connection.execute(_where(_assets.select(), tenant, asset_id)).first()
            return None if row is None else _from_row(row)


@asynccontextmanager
async def open_records(url: str) -> AsyncIterator[Records]:
    """Open the table at an SQLAlchemy URL, making it when it is not there; close it on leaving."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_pragmas)
    with (
        ThreadPoolExecutor(1, "assets-write") as writer,
        ThreadPoolExecutor(READERS, "assets-read") as readers,
    ):
        try:
            await _within(writer, lambda: _metadata.create_all(engine))
            yield Records(engine, writer, readers)
        finally:
            await asyncio.get_running_loop().run_in_executor(writer, engine.dispose)


def _set_pragmas(connection: Any, _: ConnectionPoolEntry) -> None:
    """WAL: readers go on while the writer writes. FULL: an asset that was confirmed outlives a power cut."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MILLISECONDS}"):
        connection.execute(f"PRAGMA {pragma}")


async def _within(executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    try:
        async with asyncio.timeout(STATEMENT_SECONDS):
            return await asyncio.get_running_loop().run_in_executor(executor, work)
    except (TimeoutError, sa.exc.OperationalError, sa.exc.TimeoutError) as error:
        log.error("records failed", error=repr(error))
        raise MeshError(
            errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
            "the records of assets cannot be reached; try again shortly",
            retry_after=DEFAULT_RETRY_SECONDS,
        ) from error


def _where(statement: sa.Select[Any], tenant: str, asset_id: str) -> sa.Select[Any]:
    return statement.where(_assets.c.tenant == tenant, _assets.c.id == asset_id)


def _to_row(record: Record) -> dict[str, Any]:
    row = {**vars(record), "created_us": (record.created_at - EPOCH) // MICROSECOND}
    del row["created_at"], row["sequence"]
    return row


def _from_row(row: sa.Row[Any]) -> Record:
    values = dict(row._mapping)
    created_at = EPOCH + values.pop("created_us") * MICROSECOND
    return Record(**values, created_at=created_at)
