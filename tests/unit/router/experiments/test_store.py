"""Experiments and the shadows' budget, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from router.experiments import store as store_module
from router.experiments.experiment import Arm, Guardrails, Metric, Plan, State, Unit
from router.experiments.sequential import Sums
from router.experiments.spending import Spending
from router.experiments.store import ExperimentStore, OtherPlanError
from router.experiments.tally import Tally
from router.tables import metadata
from services.runtime.database import Database, open_database
from services.runtime.errors import MeshError

PLAN = Plan(
    arms=(Arm("a", "alpha", 0.7), Arm("b", "beta", 0.3), Arm("c", "gamma", 0.1, shadow=True)),
    duration=timedelta(days=3, microseconds=5),
    unit=Unit.USER,
    metric=Metric.SECONDS,
    guardrails=Guardrails(0.01, 0.02, 0.03),
)
RESHARED = replace(PLAN, arms=(Arm("a", "alpha", 0.5), Arm("b", "beta", 0.5), PLAN.arms[2]))


@pytest_asyncio.fixture
async def databases(database_url) -> AsyncIterator[list[Database]]:
    """Two replicas' connections to one database."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_database(database_url, "experiments", metadata))
            for _ in range(2)
        ]


@pytest.fixture
def stores(databases) -> list[ExperimentStore]:
    return [ExperimentStore(database, clock=lambda: 1000.5) for database in databases]


async def failing(call) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await call
    return caught.value


async def test_what_one_replica_starts_all_see(stores):
    one, other = stores
    started = await one.create(PLAN)
    assert (started.plan, started.started_at, started.state) == (PLAN, 1000.5, State.RUNNING)
    assert await other.get(started.id) == started
    assert await other.running() == [started]
    assert await one.get("exp-nobody") is None


async def test_a_request_that_is_repeated_starts_nothing(stores):
    one, other = stores
    together = await asyncio.gather(*(store.create(PLAN, "request-1") for store in stores * 3))
    assert len({experiment.id for experiment in together}) == 1
    assert len(await other.running()) == 1
    error = await failing(one.create(RESHARED, "request-1"))
    assert (error.name, error.field) == ("REQUEST_ID_REUSED", "request_id")
    assert (await one.create(PLAN)).id != (await one.create(PLAN)).id  # without a name each is a new one


async def test_pages_go_from_the_newest_to_the_oldest(stores):
    store = stores[0]
    ids = [(await store.create(PLAN)).id for _ in range(5)]
    first = await store.page(None, 3)
    assert [one.id for one in first] == ids[:1:-1]
    assert [one.id for one in await store.page(first[-1].sequence, 3)] == ids[1::-1]


async def test_a_stopped_one_stays_stopped(stores):
    one, other = stores
    started = await one.create(PLAN)
    results = {"a": Tally(quality=Sums(3, 4.0, 2.5, 6.0, 7.0, 1.75)), "b": Tally()}
    ended = await one.stop(started.id, results)
    assert ended == replace(
        started, state=State.STOPPED, reason="it was stopped", results=results, ended_at=1000.5
    )
    won = replace(started, state=State.DECIDED, winner="b", reason="b is better", ended_at=2000.0)
    assert await other.settle(won) == ended
    assert await other.stop(started.id, {}) == await other.get(started.id) == ended
    assert await other.running() == []
    assert await other.stop("exp-nobody", {}) is None


async def test_of_two_replicas_p_values_the_smaller_stays(stores):
    one, other = stores
    started = await one.create(PLAN)
    await one.settle(replace(started, p_values={"b": 0.3}))
    await other.settle(replace(started, p_values={"b": 0.6, "c": 0.2}))
    await one.settle(replace(started, p_values={"b": 0.5, "c": 0.4}))
    read = await one.get(started.id)
    assert read is not None
    assert (read.state, read.p_values) == (State.RUNNING, {"b": 0.3, "c": 0.2})


async def test_a_file_s_experiment_is_started_once_and_may_get_other_shares(stores):
    one, other = stores
    started = await one.put("from-file", PLAN)
    assert await other.put("from-file", PLAN) == started
    assert await other.put("from-file", RESHARED) == replace(started, plan=RESHARED)
    # a judgement that was made from the shares before does not bring them back
    settled = await one.settle(replace(started, p_values={"b": 0.3}))
    assert settled.plan == RESHARED
    for changed in (
        replace(PLAN, metric=Metric.COST),
        replace(PLAN, unit=Unit.REQUEST),
        replace(PLAN, arms=(PLAN.arms[0], replace(PLAN.arms[1], model="delta"))),
    ):
        with pytest.raises(OtherPlanError):
            await one.put("from-file", changed)
    ended = await one.stop("from-file", {})
    assert await one.put("from-file", replace(PLAN, metric=Metric.COST)) == ended  # it never runs again


async def test_two_replicas_that_start_together_put_one(stores):
    first, second = await asyncio.gather(*(store.put("from-file", PLAN) for store in stores))
    assert first == second


async def test_there_is_an_end_to_how_many_run(stores, monkeypatch):
    monkeypatch.setattr(store_module, "MOST_RUNNING", 4)
    store = stores[0]
    for index in range(4):
        started = await store.create(PLAN, "" if index else "request-1")
    error = await failing(store.create(PLAN))
    assert error.name == "QUOTA_EXHAUSTED"
    assert (await store.create(PLAN, "request-1")).sequence == 1  # a repeated one starts nothing
    await store.stop(started.id, {})
    await store.create(PLAN)


async def test_replicas_share_a_day_s_budget(databases):
    now = 0.0
    one, other = (Spending(database, 0.10, clock=lambda: now) for database in databases)
    taken = await asyncio.gather(*(spending.reserve(0.04) for spending in (one, other, one, other)))
    assert sum(taken) == 2
    assert await one.reserve(0.02)
    assert not await other.reserve(0.000001)
    assert await other.reserve(0)  # what is free needs no budget
    assert not await other.reserve(0.11)
    now = 86_400.0
    assert await other.reserve(0.10)


async def test_without_a_budget_nothing_is_spent(databases):
    spending = Spending(databases[0], 0.0)
    assert not await spending.reserve(0.01)
    assert await spending.reserve(0)
