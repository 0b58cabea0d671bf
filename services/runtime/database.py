"""Tables of a server, on SQLAlchemy: SQLite on one machine, PostgreSQL in a cluster, by the URL.

Work runs on threads of the database's own, one writer and a few readers, so that no query holds up the event loop and
SQLite never sees two writers of one process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.pool import ConnectionPoolEntry

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

READERS = 2
STATEMENT_SECONDS = 10.0
BUSY_MILLISECONDS = 5_000

# BIGINT that SQLite still counts up by itself: it does so only for a column declared INTEGER.
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

log = structlog.get_logger()

T = TypeVar("T")
Statements = Callable[[sa.Connection], T]


@dataclass(frozen=True, eq=False)
class Database:
    """Runs statements. `name` says in messages whose tables these are.

    Both methods raise MeshError DEPENDENCY_UNAVAILABLE when the database does not answer in time, and what the
    statements themselves raise.
    """

    name: str
    engine: sa.Engine
    _writer: ThreadPoolExecutor
    _readers: ThreadPoolExecutor

    async def write(self, statements: Statements[T]) -> T:
        """Run statements in one transaction, after every write that was asked for before."""

        def work() -> T:
            with self.engine.begin() as connection:
                return statements(connection)

        return await self._within(self._writer, work)

    async def read(self, statements: Statements[T]) -> T:
        """Run statements that change nothing, beside the writer."""

        def work() -> T:
            with self.engine.connect() as connection:
                return statements(connection)

        return await self._within(self._readers, work)

    async def _within(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(STATEMENT_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(executor, work)
        except (TimeoutError, sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            log.error("the database failed", database=self.name, error=repr(error))
            raise MeshError(
                errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
                f"{self.name} cannot be reached; try again shortly",
                retry_after=DEFAULT_RETRY_SECONDS,
            ) from error


@asynccontextmanager
async def open_database(url: str, name: str, tables: sa.MetaData) -> AsyncIterator[Database]:
    """Open the database at an SQLAlchemy URL, make the tables that are not there, and close it on leaving."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_pragmas)
    with ThreadPoolExecutor(1, "db-write") as writer, ThreadPoolExecutor(READERS, "db-read") as readers:
        database = Database(name, engine, writer, readers)
        try:
            await database.write(tables.create_all)
            yield database
        finally:
            await asyncio.get_running_loop().run_in_executor(writer, engine.dispose)


def _set_pragmas(connection: Any, _: ConnectionPoolEntry) -> None:
    """WAL: readers go on while the writer writes. FULL: what was confirmed outlives a power cut."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MILLISECONDS}"):
        connection.execute(f"PRAGMA {pragma}")
