"""The control charts, kept over restarts."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from services.quality import tables
from services.quality.drift import CHARTS, Change, Chart, Drift
from services.runtime.database import Database

SAVED_EVERY = 10  # scores of a chart: what a crash costs its average is little


@dataclass(frozen=True)
class Charts:
    """Reads and writes charts. Raises MeshError DEPENDENCY_UNAVAILABLE when the database does not answer in time."""

    database: Database

    async def load(self) -> Drift:
        """Return the charts as they were saved last, by whichever replica."""
        columns = tables.charts.c
        query = sa.select(tables.charts).order_by(
            columns.count.desc(), columns.model.desc(), columns.score.desc()
        )

        def read(connection: sa.Connection) -> Drift:
            drift = Drift()
            # The longest last: beyond `CHARTS`, the first are forgotten first.
            for model, score, *values in reversed(connection.execute(query.limit(CHARTS)).all()):
                drift.charts[model, score] = Chart(*values)
            return drift

        return await self.database.read(read)

    async def save(self, changes: Sequence[Change]) -> None:
        """Write the charts whose turn it is."""
        rows = [
            {"model": change.model, "score": change.score, **vars(change.chart)}
            for change in changes
            if change.chart.count % SAVED_EVERY == 0
        ]
        if not rows:
            return
        own = sa.and_(
            tables.charts.c.model == sa.bindparam("of_model"),
            tables.charts.c.score == sa.bindparam("of_score"),
        )

        def write(connection: sa.Connection) -> None:
            for row in rows:
                key = {"of_model": row["model"], "of_score": row["score"]}
                if connection.execute(tables.charts.update().where(own).values(row), key).rowcount:
                    continue
                try:
                    with connection.begin_nested():
                        connection.execute(tables.charts.insert().values(row))
                except sa.exc.IntegrityError:  # another replica was quicker
                    continue

        await self.database.write(write)
