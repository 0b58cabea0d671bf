"""The table of experiments: every replica of the router reads the same ones from it, and one of them ends each.

What has ended stays as it ended; a change that finds an experiment ended changes nothing and returns it as it is.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from router.experiments.experiment import Arm, Experiment, Guardrails, Metric, Plan, State, Unit
from router.experiments.sequential import Sums
from router.experiments.tally import Tally
from router.tables import metadata
from scrollintel.visual.v1 import errors_pb2
from services.runtime.database import SEQUENCE, Database
from services.runtime.errors import MeshError

MOST_RUNNING = 100  # each of them is looked through for each request
STOPPED = "it was stopped"

_table = sa.Table(
    "experiments",
    metadata,
    sa.Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("request_id", sa.String(64), unique=True),  # none where it was created without one
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("winner", sa.String(64), nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Column("p_values", sa.JSON, nullable=False),
    sa.Column("results", sa.JSON(none_as_null=True)),  # none while it runs
    sqlite_autoincrement=True,  # a number is never used again, so a page token never points at a newer experiment
)


class OtherPlanError(Exception):
    """An experiment of this id was started to compare something else."""


class ExperimentStore:
    """Reads and writes experiments. Raises MeshError DEPENDENCY_UNAVAILABLE when the database does not answer in time."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(self, plan: Plan, request_id: str = "") -> Experiment:
        """Start an experiment, or return the one that was started by a request of this id.

        Raises MeshError REQUEST_ID_REUSED when that one has another plan, QUOTA_EXHAUSTED when too many run.
        """
        started = Experiment(f"exp-{secrets.token_hex(8)}", plan, self._clock())

        def create(connection: sa.Connection) -> Experiment:
            there = _find(connection, _table.c.request_id == request_id) if request_id else None
            if there is None:
                _check_room(connection)
                there = _insert(connection, started, request_id or None, _table.c.request_id == request_id)
            if there.plan != plan:
                message = f"request_id: {request_id} was used for another experiment, {there.id}"
                raise MeshError(errors_pb2.ERROR_REASON_REQUEST_ID_REUSED, message, field="request_id")
            return there

        return await self._database.write(create)

    async def put(self, experiment_id: str, plan: Plan) -> Experiment:
        """Start an experiment of this id, or give a running one its new shares, guardrails or duration.

        Raises OtherPlanError when it runs with other arms, unit or metric: its results so far would be mixed up.
        """
        started = Experiment(experiment_id, plan, self._clock())

        def put(connection: sa.Connection) -> Experiment:
            there = _insert(connection, started, None, _table.c.id == experiment_id)
            if there.state is not State.RUNNING or there.plan == plan:
                return there
            if _compared(there.plan) != _compared(plan):
                raise OtherPlanError(experiment_id)
            _update(connection, there, plan=_plan_to_json(plan))
            return replace(there, plan=plan)

        return await self._database.write(put)

    async def get(self, experiment_id: str) -> Experiment | None:
        """Return an experiment; None when there is none of this id."""
        return await self._database.read(lambda connection: _find(connection, _table.c.id == experiment_id))

    async def page(self, before: int | None, size: int) -> list[Experiment]:
        """Return up to `size` experiments, newest first, those before sequence `before` when it is given."""
        query = _table.select().order_by(_table.c.sequence.desc()).limit(size)
        if before is not None:
            query = query.where(_table.c.sequence < before)
        return await self._many(query)

    async def running(self) -> list[Experiment]:
        """Return the experiments that run, in the order in which they were started."""
        query = _table.select().where(_table.c.state == State.RUNNING)
        return await self._many(query.order_by(_table.c.started_at, _table.c.sequence))

    async def stop(self, experiment_id: str, results: Mapping[str, Tally]) -> Experiment | None:
        """End an experiment with the results that it had; None when there is none of this id."""

        def stop(connection: sa.Connection) -> Experiment | None:
            there = _find(connection, _table.c.id == experiment_id, lock=True)
            if there is None or there.state is not State.RUNNING:
                return there
            ended = replace(
                there, state=State.STOPPED, reason=STOPPED, results=results, ended_at=self._clock()
            )
            return _settle(connection, ended)

        return await self._database.write(stop)

    async def settle(self, judged: Experiment) -> Experiment:
        """Write down how a running experiment stands; of two replicas' p-values the smaller one stays."""

        def settle(connection: sa.Connection) -> Experiment:
            there = _find(connection, _table.c.id == judged.id, lock=True)
            if there is None or there.state is not State.RUNNING:
                return there or judged
            smallest = {arm: min(p, there.p_values.get(arm, 1.0)) for arm, p in judged.p_values.items()}
            return _settle(connection, replace(judged, plan=there.plan, p_values=smallest))

        return await self._database.write(settle)

    async def _many(self, query: sa.Select[Any]) -> list[Experiment]:
        return await self._database.read(lambda connection: [*map(_from_row, connection.execute(query))])


def _find(connection: sa.Connection, where: sa.ColumnElement[bool], lock: bool = False) -> Experiment | None:
    query = _table.select().where(where)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _from_row(row)


def _insert(
    connection: sa.Connection, started: Experiment, request_id: str | None, same: sa.ColumnElement[bool]
) -> Experiment:
    """Return the experiment as it was stored, or the `same` one that another replica or request stored before."""
    if there := _find(connection, same):
        return there
    values = {
        "id": started.id,
        "request_id": request_id,
        "plan": _plan_to_json(started.plan),
        "state": started.state,
        "reason": "",
        "winner": "",
        "started_at": started.started_at,
        "p_values": {},
    }
    try:
        with connection.begin_nested():
            statement = _table.insert().values(values).returning(_table.c.sequence)
            return replace(started, sequence=connection.execute(statement).scalar_one())
    except sa.exc.IntegrityError:
        if there := _find(connection, same):
            return there
        raise


def _check_room(connection: sa.Connection) -> None:
    count = sa.select(sa.func.count()).where(_table.c.state == State.RUNNING)
    if connection.execute(count).scalar_one() >= MOST_RUNNING:
        message = f"{MOST_RUNNING} experiments run already; stop one first"
        raise MeshError(errors_pb2.ERROR_REASON_QUOTA_EXHAUSTED, message)


def _settle(connection: sa.Connection, judged: Experiment) -> Experiment:
    _update(
        connection,
        judged,
        state=judged.state,
        reason=judged.reason,
        winner=judged.winner,
        ended_at=judged.ended_at,
        p_values=dict(judged.p_values),
        results=None if judged.results is None else {arm: asdict(one) for arm, one in judged.results.items()},
    )
    return judged


def _update(connection: sa.Connection, experiment: Experiment, **values: object) -> None:
    connection.execute(_table.update().where(_table.c.id == experiment.id).values(values))


def _compared(plan: Plan) -> tuple[object, ...]:
    """Return what may not change while an experiment runs."""
    return plan.unit, plan.metric, [(arm.name, arm.model, arm.shadow) for arm in plan.arms]


def _plan_to_json(plan: Plan) -> dict[str, Any]:
    return {**asdict(plan), "duration": plan.duration.total_seconds()}


def _plan_of_json(value: dict[str, Any]) -> Plan:
    return Plan(
        arms=tuple(Arm(**arm) for arm in value["arms"]),
        duration=timedelta(seconds=value["duration"]),
        unit=Unit(value["unit"]),
        metric=Metric(value["metric"]),
        guardrails=Guardrails(**value["guardrails"]),
    )


def _tally(value: dict[str, Any]) -> Tally:
    return Tally(**{name: Sums(*sums) for name, sums in value.items()})


def _from_row(row: sa.Row[Any]) -> Experiment:
    return Experiment(
        id=row.id,
        plan=_plan_of_json(row.plan),
        started_at=row.started_at,
        state=State(row.state),
        reason=row.reason,
        winner=row.winner,
        ended_at=row.ended_at,
        p_values=row.p_values,
        results=None if row.results is None else {arm: _tally(one) for arm, one in row.results.items()},
        sequence=row.sequence,
    )
