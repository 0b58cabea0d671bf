"""What is asked of the tables of runs and verdicts, one function a transaction's work."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from router.performance.buffer import Waiting
from router.performance.rows import OF_RUN, VERDICT, run_of, run_row, runs, verdict_of, verdict_row, verdicts
from router.performance.window import Window
from router.runs import OK, Run, Verdict
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError

# Both know how to pass over a row that is there, each in a construct of its own.
INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

PAGE = 500  # rows of one statement
VERDICTS = 64  # of one run; a request has ten pictures at most, each scored and checked, and a rating
JUDGED_RUNS = 64  # of one generation
MOST_UNSEEN = 5_000  # rows folded in at one go; a replica that was cut off for long has more


class Remembered(NamedTuple):
    """A run, and how it was judged; None where the row says only that it ended. `id` is the row's."""

    id: int
    run: Run
    verdict: Verdict | None = None

    @property
    def at(self) -> float:
        """When it happened, in seconds since the epoch."""
        return self.run.at if self.verdict is None else self.verdict.at


def insert_runs(connection: sa.Connection, waiting: Sequence[Waiting], replica: str) -> None:
    """Insert runs, but for those that are there. Raises ValueError or OverflowError for a figure that is none."""
    rows = [run_row(run, replica, nonce) for nonce, run in waiting]
    insert = INSERTS[connection.dialect.name](runs).on_conflict_do_nothing(index_elements=["nonce"])
    connection.execute(insert, rows)


def insert_verdict(connection: sa.Connection, verdict: Verdict, replica: str, shadow: bool) -> list[Run]:
    """Insert a verdict on the runs that delivered for its request, and return them; newest first, none where none did.

    Raises MeshError QUOTA_EXHAUSTED when one of them has been judged often enough.
    """
    names = sa.or_(runs.c.request_id == verdict.request_id, runs.c.generation_id == verdict.request_id)
    delivered = (
        runs.select()
        .where(names, runs.c.tenant == verdict.tenant, runs.c.outcome == OK, runs.c.shadow == shadow)
        .order_by(runs.c.id.desc())
        .limit(JUDGED_RUNS)
    )
    found = connection.execute(delivered).all()
    if not found:
        return []
    ids = [row.id for row in found]
    counts = sa.select(sa.func.count()).where(verdicts.c.run.in_(ids)).group_by(verdicts.c.run)
    if max(connection.execute(counts).scalars(), default=0) >= VERDICTS:
        message = f"request_id: its result has been judged {VERDICTS} times, which is all that are taken"
        raise MeshError(errors_pb2.ERROR_REASON_QUOTA_EXHAUSTED, message, field="request_id")
    connection.execute(verdicts.insert(), [verdict_row(verdict, replica, number) for number in ids])
    return [run_of(row) for row in found]


def newest(connection: sa.Connection, table: sa.Table, count: int) -> list[int]:
    """Return the highest ids of a table, up to `count`, lowest first."""
    query = sa.select(table.c.id).order_by(table.c.id.desc()).limit(count)
    return list(connection.execute(query).scalars())[::-1]


def backends(connection: sa.Connection) -> list[str]:
    """Return the backends that have runs, by name."""
    return list(connection.execute(sa.select(runs.c.backend).distinct().order_by(runs.c.backend)).scalars())


def history(connection: sa.Connection, backend: str, count: int) -> list[Remembered]:
    """Return the newest runs of a backend, up to `count`, and the verdicts on them, in the order that they happened."""
    rows = connection.execute(
        runs.select().where(runs.c.backend == backend).order_by(runs.c.id.desc()).limit(count)
    ).all()
    if not rows:
        return []
    by_id = {row.id: run_of(row) for row in rows}
    found = connection.execute(
        sa.select(*VERDICT)
        .join_from(verdicts, runs, OF_RUN)
        .where(runs.c.backend == backend, runs.c.id >= rows[-1].id)
    )
    ended = [Remembered(number, run) for number, run in by_id.items()]
    judged = [
        Remembered(row.verdict_id, by_id[row.verdict_run], verdict_of(row))
        for row in found
        if row.verdict_run in by_id  # not of a run that turned up in between
    ]
    return sorted([*ended, *judged], key=lambda one: (one.at, one.id))


def unseen_runs(connection: sa.Connection, window: Window, replica: str) -> "Unseen":
    """Return the runs of other replicas that are not in a window, oldest first."""
    ids, others = _unseen(connection, runs, window, replica)
    found = _of_ids(connection, runs.select(), runs.c.id, others)
    return Unseen(ids, [Remembered(row.id, run_of(row)) for row in found])


def unseen_verdicts(connection: sa.Connection, window: Window, replica: str) -> "Unseen":
    """Return the verdicts that other replicas were told and that are not in a window, oldest first, with their runs."""
    ids, others = _unseen(connection, verdicts, window, replica)
    query = sa.select(runs, *VERDICT).join_from(verdicts, runs, OF_RUN)
    found = _of_ids(connection, query, verdicts.c.id, others)
    return Unseen(ids, [Remembered(row.verdict_id, run_of(row), verdict_of(row)) for row in found])


class Unseen(NamedTuple):
    """The ids of rows that are not in a window, and what those of other replicas say."""

    ids: list[int]
    remembered: list[Remembered]


def last_to_forget(connection: sa.Connection, kept: int) -> int:
    """Return the highest id of the runs that are beyond the newest `kept`; 0 where there are none."""
    query = sa.select(runs.c.id).order_by(runs.c.id.desc()).offset(kept).limit(1)
    return connection.execute(query).scalar_one_or_none() or 0


def forget(connection: sa.Connection, last: int) -> int:
    """Delete a page of the runs up to an id, or of the verdicts on them while there are any; return how many rows."""
    for table, key in ((verdicts, verdicts.c.run), (runs, runs.c.id)):
        # What another replica deletes just now is left to it.
        page = sa.select(table.c.id).where(key <= last).limit(PAGE).with_for_update(skip_locked=True)
        if deleted := connection.execute(table.delete().where(table.c.id.in_(page))).rowcount:
            return deleted
    return 0


def _unseen(
    connection: sa.Connection, table: sa.Table, window: Window, replica: str
) -> tuple[list[int], list[int]]:
    """Return the ids above a window's floor that are not in it, and those of them that other replicas inserted."""
    query = sa.select(table.c.id, table.c.replica).where(table.c.id > window.floor).order_by(table.c.id)
    unseen = [(number, owner) for number, owner in connection.execute(query) if number not in window]
    unseen = unseen[:MOST_UNSEEN]
    return [number for number, _ in unseen], [number for number, owner in unseen if owner != replica]


def _of_ids(
    connection: sa.Connection, query: sa.Select[Any], column: sa.Column[Any], ids: Sequence[int]
) -> Iterable[sa.Row[Any]]:
    for start in range(0, len(ids), PAGE):
        yield from connection.execute(query.where(column.in_(ids[start : start + PAGE])).order_by(column))
