"""What shadows may spend a day, kept in a table: replicas share the budget, and a restart does not renew it."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from router.tables import metadata
from services.runtime.database import Database

_table = sa.Table(
    "shadow_spending",
    metadata,
    sa.Column("day", sa.String(10), primary_key=True),  # of UTC, such as 2026-11-23
    sa.Column("micro_usd", sa.BigInteger, nullable=False),
)
_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Spending:
    """The day's budget of `limit` US dollars. Raises MeshError DEPENDENCY_UNAVAILABLE as the database does."""

    def __init__(self, database: Database, limit: float, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._limit = limit
        self._clock = clock

    async def reserve(self, usd: float) -> bool:
        """Take what a run is expected to cost out of today's budget; False when it does not hold that much any more.

        What was taken is not given back when the run fails: the provider may have charged for it.
        """
        if usd <= 0:
            return True
        if usd > self._limit:
            return False
        day = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
        amount, limit = round(usd * 1e6), round(self._limit * 1e6)

        def reserve(connection: sa.Connection) -> bool:
            opened = _INSERTS[connection.dialect.name](_table).values(day=day, micro_usd=0)
            connection.execute(opened.on_conflict_do_nothing())
            spent = _table.c.micro_usd + amount
            taken = _table.update().where(_table.c.day == day, spent <= limit).values(micro_usd=spent)
            return connection.execute(taken).rowcount == 1

        return await self._database.write(reserve)
