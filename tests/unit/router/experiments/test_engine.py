"""Experiments at work: who is split, who is copied, and that every replica says the same."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
import pytest_asyncio
import structlog

from router.configuration import ConfigurationError
from router.demand import Demand, Modality
from router.experiments.engine import Experiments, experimenting
from router.experiments.experiment import Arm, Experiment, Metric, Plan, State, Unit
from router.experiments.sequential import Sums
from router.experiments.shadow import copy_of
from router.experiments.store import ExperimentStore
from router.experiments.tally import Tally
from router.order import Assignment, Order
from router.tables import metadata
from scrollintel.visual.v1 import errors_pb2
from services.runtime.database import Database, open_database
from services.runtime.errors import MeshError

IMAGE, VIDEO = Modality.TEXT_TO_IMAGE, Modality.VIDEO
SERVED = frozenset({("alpha", IMAGE), ("beta", IMAGE), ("gamma", IMAGE), ("film", VIDEO), ("reel", VIDEO)})
PLAN = Plan((Arm("a", "alpha", 0.5), Arm("b", "beta", 0.5)), duration=timedelta(days=1), unit=Unit.REQUEST)
COPIES = (Arm("twin", "alpha", 0.5, shadow=True), Arm("copy", "gamma", 0.5, shadow=True))
SHADOWED = replace(PLAN, arms=(replace(PLAN.arms[0], share=1.0), *COPIES))


@dataclass
class Copies:
    """Keeps which copies were to be started."""

    started: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    def start(self, order: Order, experiment: Experiment, arm: Arm, execution: object) -> None:
        self.started.append((order.request_id, arm.name))

    async def close(self) -> None:
        self.closed = True


@dataclass
class Figures:
    """Results as a test sets them."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    failure: Exception | None = None
    asked: int = 0

    async def of_experiment(self, experiment: str, unit: Unit) -> Mapping[str, Tally]:
        self.asked += 1
        if self.failure:
            raise self.failure
        return self.tallies


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def database(tmp_path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite:///{tmp_path}/router.sqlite", "experiments", metadata) as database:
        yield database


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def experiments(database, clock) -> Experiments:
    return Experiments(ExperimentStore(database, clock), Figures(), Copies(), lambda: SERVED, clock)


def order(number: int = 1, **demand: object) -> Order:
    return Order(Demand(**demand), f"request-{number}", "a red apple", "", 7, tenant="t", user="u")


def scores(mean: float) -> Tally:
    return Tally(quality=Sums.of_values(100, 100 * mean, 100 * (mean**2 + 0.01)))


async def test_requests_are_split_between_the_arms_and_keep_them(experiments):
    assert experiments.split(order()) is None
    created = await experiments.create(PLAN, "")
    arms = [experiments.split(order(number)) for number in range(400)]
    assert {arm[:3] for arm in arms if arm} == {(created.id, "a", "alpha"), (created.id, "b", "beta")}
    assert {(arm.model, *arm.others) for arm in arms if arm} == {("alpha", "beta"), ("beta", "alpha")}
    assert len({arm.unit for arm in arms if arm}) == 400
    assert Counter(arm.arm for arm in arms if arm)["a"] == pytest.approx(200, abs=40)
    assert [experiments.split(order(number)) for number in range(400)] == arms


async def test_another_replica_splits_alike(experiments, database, clock):
    await experiments.create(PLAN, "")
    other = Experiments(ExperimentStore(database), Figures(), Copies(), lambda: SERVED, clock)
    assert other.split(order()) is None
    await other.read()
    for number in range(50):
        assert other.split(order(number)) == experiments.split(order(number))


async def test_who_names_a_model_is_never_split_and_a_copy_neither(experiments):
    await experiments.create(PLAN, "")
    assert experiments.split(order(model="gamma")) is None
    assert experiments.split(copy_of(order(), "exp-1", COPIES[0])) is None


async def test_an_experiment_claims_only_what_its_models_make(experiments):
    await experiments.create(replace(PLAN, arms=(Arm("a", "film", 0.5), Arm("b", "reel", 0.5))), "")
    assert experiments.split(order()) is None
    assert experiments.split(order(modality=VIDEO)) is not None
    experiments.served = lambda: SERVED - {("reel", VIDEO)}  # its last backend was taken away
    await experiments.read()
    assert experiments.split(order(modality=VIDEO)) is None


async def test_of_two_experiments_the_older_one_claims_a_request(experiments, clock):
    older = await experiments.create(PLAN, "")
    clock.now += 1
    younger = await experiments.create(replace(PLAN, metric=Metric.COST), "")
    assert {experiments.split(order(number)).experiment for number in range(20)} == {older.id}
    await experiments.stop(older.id)
    assert {experiments.split(order(number)).experiment for number in range(20)} == {younger.id}


async def test_an_experiment_whose_time_is_over_splits_no_more_though_nobody_has_looked(experiments, clock):
    created = await experiments.create(PLAN, "")
    clock.now = created.expires_at
    assert experiments.split(order()) is None
    await experiments.evaluate()
    assert (await experiments.store.get(created.id)).state is State.EXPIRED


async def test_shadows_get_copies_of_their_share_of_the_control(experiments):
    created = await experiments.create(SHADOWED, "")
    for number in range(200):
        one = order(number)
        experiments.mirrored(replace(one, assignment=experiments.split(one)), None)
    copied = Counter(arm for _, arm in experiments.shadows.started)
    assert copied["twin"] == copied["copy"] == pytest.approx(100, abs=30)
    assert {name for name, arm in experiments.shadows.started if arm == "twin"} == {
        name for name, arm in experiments.shadows.started if arm == "copy"
    }
    experiments.shadows.started.clear()
    for one in (
        order(),  # in no experiment
        replace(order(), assignment=Assignment(created.id, "twin", "alpha")),
        replace(order(), assignment=Assignment("exp-other", "a", "alpha")),
        copy_of(order(), created.id, COPIES[0]),
    ):
        experiments.mirrored(one, None)
    assert not experiments.shadows.started


async def test_only_the_control_is_copied(experiments):
    await experiments.create(
        replace(PLAN, arms=(*PLAN.arms, *(replace(arm, share=1.0) for arm in COPIES))), ""
    )
    for number in range(20):
        one = order(number)
        arm = experiments.split(one)
        experiments.shadows.started.clear()
        experiments.mirrored(replace(one, assignment=arm), None)
        assert len(experiments.shadows.started) == (2 if arm.arm == "a" else 0)


async def test_a_winner_ends_the_splitting_and_is_told(experiments):
    created = await experiments.create(PLAN, "")
    experiments.results.tallies = {"a": scores(0.5), "b": scores(0.5)}
    await experiments.evaluate()
    assert experiments.split(order()) is not None
    experiments.results.tallies = {"a": scores(0.5), "b": scores(0.7)}
    with structlog.testing.capture_logs() as logs:
        await experiments.evaluate()
    assert experiments.split(order()) is None
    ended = await experiments.store.get(created.id)
    assert (ended.state, ended.winner) == (State.DECIDED, "b")
    decided, experiments.results.tallies = experiments.results.tallies, {}  # runs are forgotten one day
    assert await experiments.results_of(ended) == decided
    assert [(one["event"], one["winner"]) for one in logs] == [("experiment over", "b")]


async def test_a_p_value_outlives_a_restart(experiments, database, clock):
    created = await experiments.create(PLAN, "")
    experiments.results.tallies = {"a": scores(0.5), "b": scores(0.53)}
    await experiments.evaluate()
    before = (await experiments.store.get(created.id)).p_values["b"]
    assert 0.05 < before < 1
    tallies = {"a": scores(0.5), "b": scores(0.5)}
    restarted = Experiments(ExperimentStore(database), Figures(tallies), Copies(), lambda: SERVED, clock)
    await restarted.evaluate()
    assert (await experiments.store.get(created.id)).p_values["b"] == before


async def test_a_file_s_experiments_are_started_and_one_that_compares_something_else_is_refused(experiments):
    await experiments.declare({"from-file": PLAN})
    await experiments.read()
    assert experiments.split(order()).experiment == "from-file"
    await experiments.declare({"from-file": replace(PLAN, duration=timedelta(days=2))})
    with pytest.raises(ConfigurationError, match="from-file runs already with other arms"):
        await experiments.declare({"from-file": replace(PLAN, metric=Metric.COST)})


async def test_experiments_are_looked_at_again_and_again_whatever_goes_wrong(experiments):
    await experiments.store.create(PLAN)
    figures = experiments.results
    async with experimenting(experiments, 0.005), asyncio.timeout(20):
        assert experiments.split(order()) is not None
        for failure in (
            MeshError(errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE, "away"),
            ValueError("a mistake"),
            None,
        ):
            figures.failure, seen = failure, figures.asked
            while figures.asked < seen + 2:
                await asyncio.sleep(0.005)
        figures.tallies = {"a": scores(0.5), "b": scores(0.7)}
        while experiments.split(order()) is not None:
            await asyncio.sleep(0.005)
    assert experiments.shadows.closed
