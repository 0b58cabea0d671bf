"""What the requests of an experiment came to, added up by the database: a hundred thousand runs become one row an arm."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from router.experiments.experiment import Unit
from router.experiments.sequential import Sums
from router.experiments.tally import Tally
from router.performance.rows import MICRO, runs, verdicts
from router.runs import CANCELLED, OK

MEASURES = tuple(field.name for field in fields(Tally))

# Whose requests resemble each other.
UNITS: Mapping[Unit, tuple[str, ...]] = {
    Unit.TENANT: ("tenant",),
    Unit.USER: ("unit",),
    Unit.REQUEST: ("tenant", "request_id"),
}


def tallies(connection: sa.Connection, experiment: str, unit: Unit) -> dict[str, Tally]:
    """Return what the requests of each arm came to, by the arm's name.

    A request failed when none of its runs delivered; it took the seconds of all its runs, with their waiting and
    loading, and cost the dollars of all. Its quality and rating are means over all verdicts. Runs that were cancelled,
    by their caller or because another one was quicker, took nobody's time, and a request of such runs alone is left out.
    """
    return {
        row.arm: Tally(**{name: _sums(row, name) for name in MEASURES})
        for row in connection.execute(_totals(experiment, UNITS[unit]))
    }


def _sums(row: sa.Row[Any], name: str) -> Sums:
    return Sums(*(row._mapping[f"{name}_{part}"] or 0 for part in Sums._fields))


def _totals(experiment: str, unit: tuple[str, ...]) -> sa.Select[Any]:
    """Select the sums of every measure over the units of every arm."""
    units = _units(experiment, unit).cte("units")
    columns: list[sa.ColumnElement[Any]] = [units.c.arm]
    for name in MEASURES:
        count, total = units.c[f"{name}_count"], units.c[f"{name}_total"]
        parts = {
            "units": sa.func.count(sa.case((count > 0, 1))),
            "values": sa.func.sum(count),
            "total": sa.func.sum(total),
            "values_squared": sa.func.sum(count * count),
            "cross": sa.func.sum(count * total),
            "total_squared": sa.func.sum(total * total),
        }
        columns += [part.label(f"{name}_{label}") for label, part in parts.items()]
    return sa.select(*columns).group_by(units.c.arm)


def _units(experiment: str, unit: tuple[str, ...]) -> sa.Select[Any]:
    """Select how many values each unit of an arm has of a measure, and their sum."""
    requests = _requests(experiment).cte("requests")
    columns: list[sa.ColumnElement[Any]] = [requests.c.arm]
    for name in MEASURES:
        value = requests.c[name]
        columns.append(sa.cast(sa.func.count(value), sa.Double).label(f"{name}_count"))
        columns.append(sa.func.coalesce(sa.func.sum(value), 0.0).label(f"{name}_total"))
    return sa.select(*columns).group_by(requests.c.arm, *(requests.c[name] for name in unit))


def _requests(experiment: str) -> sa.Select[Any]:
    """Select the measures of each request of an arm: null where nothing was measured or does not count."""
    judged = _judged(experiment).cte("judged")
    counts = runs.c.outcome != CANCELLED
    delivered = sa.func.max(sa.case((runs.c.outcome == OK, 1), else_=0))
    taken = sa.func.sum(sa.case((counts, runs.c.seconds_us + runs.c.waited_us + runs.c.loading_us), else_=0))

    def measured(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.case((delivered == 1, sa.cast(value, sa.Double)))

    def mean(name: str) -> sa.ColumnElement[Any]:
        count = sa.func.sum(judged.c[f"{name}_count"])
        return measured(sa.func.sum(judged.c[f"{name}_total"]) / sa.func.nullif(count, 0))

    return (
        sa.select(
            runs.c.arm,
            runs.c.tenant,
            runs.c.request_id,
            sa.func.max(runs.c.unit).label("unit"),
            sa.cast(1 - delivered, sa.Double).label("failed"),
            sa.cast(sa.func.coalesce(sa.func.max(judged.c.unsafe), 0), sa.Double).label("unsafe"),
            mean("quality").label("quality"),
            (measured(taken) / MICRO).label("seconds"),
            (measured(sa.func.sum(runs.c.usd_micros)) / MICRO).label("cost"),
            mean("rating").label("rating"),
        )
        .select_from(runs.outerjoin(judged, judged.c.run == runs.c.id))
        .where(runs.c.experiment == experiment)
        .group_by(runs.c.arm, runs.c.tenant, runs.c.request_id)
        .having(sa.func.max(sa.case((counts, 1), else_=0)) == 1)
    )


def _judged(experiment: str) -> sa.Select[Any]:
    """Select what the verdicts on each run say together."""
    return (
        sa.select(
            verdicts.c.run,
            sa.func.sum(verdicts.c.quality).label("quality_total"),
            sa.func.count(verdicts.c.quality).label("quality_count"),
            sa.func.max(sa.case((verdicts.c.unsafe, 1), else_=0)).label("unsafe"),
            sa.cast(sa.func.sum(verdicts.c.rating), sa.Double).label("rating_total"),
            sa.func.count(verdicts.c.rating).label("rating_count"),
        )
        .join(runs, verdicts.c.run == runs.c.id)
        .where(runs.c.experiment == experiment)
        .group_by(verdicts.c.run)
    )
