"""The tables of runs and verdicts, and their rows. Times, money and sizes are whole microseconds, micro-dollars, pixels.

Rows are added and forgotten, never changed. Text has no length here: what a row may hold is checked where it comes from.
"""

from typing import Any

import sqlalchemy as sa

from router.runs import Run, Verdict, Work
from router.tables import metadata
from services.runtime.database import SEQUENCE

MICRO = 1_000_000

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", SEQUENCE, primary_key=True, autoincrement=True),
    # Random, so that a batch is not recorded twice when it is sent again because nobody knows whether it arrived.
    sa.Column("nonce", sa.BigInteger, nullable=False, unique=True),
    sa.Column("replica", sa.String, nullable=False),
    sa.Column("request_id", sa.String, nullable=False, index=True),
    sa.Column("generation_id", sa.String, nullable=False, index=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("backend", sa.String, nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("prompt_class", sa.String, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("pixels", sa.BigInteger, nullable=False),
    sa.Column("images", sa.Integer, nullable=False),
    sa.Column("frames", sa.Integer, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("seconds_us", sa.BigInteger, nullable=False),
    sa.Column("waited_us", sa.BigInteger, nullable=False),
    sa.Column("loading_us", sa.BigInteger, nullable=False),
    sa.Column("beside", sa.Integer, nullable=False),
    sa.Column("usd_micros", sa.BigInteger, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("experiment", sa.String, nullable=False, index=True),
    sa.Column("arm", sa.String, nullable=False),
    sa.Column("shadow", sa.Boolean, nullable=False),
    sa.Column("unit", sa.String, nullable=False),
    sa.Index("runs_by_backend", "backend", "id"),
    sqlite_autoincrement=True,  # a forgotten run's number is never used again
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("run", sa.BigInteger, nullable=False, index=True),  # one row for each run that it judges
    sa.Column("replica", sa.String, nullable=False),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("quality", sa.Double),
    sa.Column("unsafe", sa.Boolean),
    sa.Column("rating", sa.Integer),
    sqlite_autoincrement=True,
)

# Both tables have columns of the same names.
VERDICT = tuple(column.label(f"verdict_{column.name}") for column in verdicts.c)
OF_RUN = verdicts.c.run == runs.c.id


def run_row(run: Run, replica: str, nonce: int) -> dict[str, Any]:
    """Return a run as it is inserted. Raises ValueError or OverflowError for a figure that is none."""
    return {
        "nonce": nonce,
        "replica": replica,
        "request_id": run.request_id,
        "generation_id": run.generation_id,
        "attempt": run.attempt,
        "tenant": run.tenant,
        "backend": run.backend,
        "model": run.model,
        "prompt_class": run.prompt_class,
        "steps": run.work.steps,
        "pixels": _micros(run.work.megapixels),
        "images": run.work.images,
        "frames": run.work.frames,
        "outcome": run.outcome,
        "seconds_us": _micros(run.seconds),
        "waited_us": _micros(run.waited),
        "loading_us": _micros(run.loading),
        "beside": run.beside,
        "usd_micros": _micros(run.usd),
        "at_us": _micros(run.at),
        "experiment": run.experiment,
        "arm": run.arm,
        "shadow": run.shadow,
        "unit": run.unit,
    }


def run_of(row: sa.Row[Any]) -> Run:
    """Return the run of a row that holds the columns of `runs`."""
    return Run(
        request_id=row.request_id,
        generation_id=row.generation_id,
        attempt=row.attempt,
        tenant=row.tenant,
        backend=row.backend,
        model=row.model,
        prompt_class=row.prompt_class,
        work=Work(row.steps, row.pixels / MICRO, row.images, row.frames),
        outcome=row.outcome,
        seconds=row.seconds_us / MICRO,
        waited=row.waited_us / MICRO,
        loading=row.loading_us / MICRO,
        beside=row.beside,
        usd=row.usd_micros / MICRO,
        at=row.at_us / MICRO,
        experiment=row.experiment,
        arm=row.arm,
        shadow=row.shadow,
        unit=row.unit,
    )


def verdict_row(verdict: Verdict, replica: str, run: int) -> dict[str, Any]:
    """Return a verdict on the run of an id as it is inserted. Raises ValueError or OverflowError as `run_row` does."""
    return {
        "run": run,
        "replica": replica,
        "request_id": verdict.request_id,
        "tenant": verdict.tenant,
        "at_us": _micros(verdict.at),
        "quality": verdict.quality,
        "unsafe": verdict.unsafe,
        "rating": verdict.rating,
    }


def verdict_of(row: sa.Row[Any]) -> Verdict:
    """Return the verdict of a row that holds the columns of `VERDICT`."""
    return Verdict(
        request_id=row.verdict_request_id,
        tenant=row.verdict_tenant,
        at=row.verdict_at_us / MICRO,
        quality=row.verdict_quality,
        unsafe=row.verdict_unsafe,
        rating=row.verdict_rating,
    )


def _micros(figure: float) -> int:
    return round(figure * MICRO)
