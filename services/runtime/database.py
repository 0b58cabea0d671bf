"""Tables of a server, on SQLAlchemy: SQLite on one machine, PostgreSQL in a cluster, by the URL.

Work runs on threads of the database's own, one writer and a few readers, so that no query holds up the event loop and
SQLite never sees two writers of one process.
"""

import asyncio
import sqlite3
import time
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

# How libpq notices that a server or the way to it is gone; an address says otherwise in its query. The threads are few:
# one that waited for a machine that is off, as TCP does for a quarter of an hour by itself, would hold up all others.
PATIENCE = {
    "connect_timeout": 3,
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 7_000,
}
# One replica makes the tables, others that start at the same moment find them. The number means nothing else.
MAKE_ALONE = {"postgresql": sa.select(sa.func.pg_advisory_xact_lock(0x7669_7375_616C))}

UNREACHABLE = (
    TimeoutError,
    sa.exc.OperationalError,
    sa.exc.InterfaceError,  # a connection that was closed under its statement
    sa.exc.InternalError,  # a server that became a read-only standby
    sa.exc.TimeoutError,
)

log = structlog.get_logger()

T = TypeVar("T")
Statements = Callable[[sa.Connection], T]


@dataclass(frozen=True, eq=False)
class Database:
    """Runs statements. `name` says in messages whose tables these are.

    Both methods raise MeshError DEPENDENCY_UNAVAILABLE when the database does not answer in time, and what the
    statements themselves raise. They keep their own time and not the caller's deadline: what an outcome has to write
    comes when that has passed, too. A caller that goes away takes back what has not begun; what has is finished.
    """

    name: str
    engine: sa.Engine
    _writer: ThreadPoolExecutor
    _readers: ThreadPoolExecutor

    async def write(self, statements: Statements[T]) -> T:
        """Run statements in one transaction, after every write that was asked for before.

        On SQLite nobody else writes between its statements, on PostgreSQL the isolation is READ COMMITTED.
        """

        def work() -> T:
            with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
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
        except UNREACHABLE as error:
            log.error("the database failed", database=self.name, error=repr(error))
            raise MeshError(
                errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
                f"{self.name} cannot be reached; try again shortly",
                retry_after=DEFAULT_RETRY_SECONDS,
            ) from error


@asynccontextmanager
async def open_database(url: str, name: str, tables: sa.MetaData) -> AsyncIterator[Database]:
    """Open the database at an SQLAlchemy URL, make the tables that are not there, and close it on leaving.

    What was asked for before is finished first. Raises MeshError DEPENDENCY_UNAVAILABLE, ValueError for a URL that cannot
    be used: the text says why.
    """
    try:
        engine = _engine(sa.make_url(url))
    except sa.exc.ArgumentError:  # its text holds the URL, and that a password
        raise ValueError("is no SQLAlchemy URL of SQLite or PostgreSQL") from None
    except ImportError as error:
        raise ValueError(f"needs {error.name}: pip install 'visual-mesh[postgres]'") from None
    database = Database(
        name,
        engine,
        ThreadPoolExecutor(1, "db-write"),
        ThreadPoolExecutor(READERS, "db-read"),
    )

    def close() -> None:
        database._readers.shutdown()
        database._writer.shutdown()
        database.engine.dispose()

    def make(connection: sa.Connection) -> None:
        if (lock := MAKE_ALONE.get(connection.dialect.name)) is not None:
            connection.execute(lock)
        _check_columns(connection, tables)
        tables.create_all(connection)

    try:
        await database.write(make)
        yield database
    finally:
        # In a thread: it waits for statements. Shielded: who is cancelled while it waits leaves nothing open.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, close))


def _check_columns(connection: sa.Connection, tables: sa.MetaData) -> None:
    """Raise ValueError for a table that is there and lacks a column: every statement on it would fail."""
    known = sa.inspect(connection)
    for table in tables.sorted_tables:
        if not known.has_table(table.name):
            continue
        there = {column["name"] for column in known.get_columns(table.name)}
        if lacking := [column.name for column in table.columns if column.name not in there]:
            raise ValueError(
                f"another version made its table {table.name}, which has no {', '.join(lacking)}; "
                "add what is missing, or begin with an empty database"
            )


def _engine(url: sa.URL) -> sa.Engine:
    # Logs and tracebacks quote statements; what goes into them is the callers' own.
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ValueError("SQLite needs a file: in memory every thread would have tables of its own")
        engine = sa.create_engine(url, hide_parameters=True)
        sa.event.listen(engine, "connect", _set_pragmas)
        sa.event.listen(engine, "begin", _begin)
        return engine
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")  # what the extra `postgres` installs
    patience = {name: value for name, value in PATIENCE.items() if name not in url.query}
    engine = sa.create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=patience)
    sa.event.listen(engine, "connect", _set_timeout)
    return engine


def _set_pragmas(connection: Any, _: ConnectionPoolEntry) -> None:
    """WAL: readers go on while the writer writes. FULL: what was confirmed outlives a power cut."""
    connection.isolation_level = (
        None  # transactions begin where `_begin` says, not where the driver thinks they do
    )
    connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    connection.execute("PRAGMA synchronous=FULL")
    # SQLite does not wait by itself where two processes make a new file's journal a WAL at the same moment.
    until = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin(connection: sa.Connection) -> None:
    """Take SQLite's only place for a writer before the first statement: who reads first may not write any more."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _set_timeout(connection: Any, _: ConnectionPoolEntry) -> None:
    """Let PostgreSQL end what nobody waits for any more, so that its locks and our thread come free."""
    connection.execute(f"SET statement_timeout = {STATEMENT_SECONDS * 1000:.0f}")
    connection.commit()
