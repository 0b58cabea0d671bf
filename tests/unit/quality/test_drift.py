"""The control chart: quiet while nothing changes, soon awake when something does."""

import asyncio
import random
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from services.quality import figures, tables
from services.quality.charts import Charts
from services.quality.drift import BASELINE, WATCHED, Change, Chart, Drift, State
from services.quality.tables import open_tables


def fed(values: Sequence[float]) -> list[State]:
    chart = Chart()
    return [chart.add(value) for value in values]


def scores(count: int, mean: float = 0.8, deviation: float = 0.05, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, deviation) for _ in range(count)]


def test_a_baseline_is_learnt_first() -> None:
    states = fed(scores(BASELINE + 1))
    assert set(states[:-1]) == {State.LEARNING}
    assert states[-1] is State.USUAL


def test_scores_that_stay_are_usual() -> None:
    alarms = sum(
        state in (State.LOW, State.HIGH)
        for seed in range(20)
        for state in fed(scores(BASELINE + 100, seed=seed))
    )
    assert alarms < 0.01 * 20 * 100


@pytest.mark.parametrize(("shift", "state"), [(-0.1, State.LOW), (0.1, State.HIGH)])
def test_a_shift_of_two_deviations_is_found_within_fifteen(shift: float, state: State) -> None:
    for seed in range(20):
        after = scores(15, 0.8 + shift, seed=100 + seed)
        assert state in fed([*scores(BASELINE + 20, seed=seed), *after])[-15:]


def test_what_comes_back_is_usual_again() -> None:
    assert fed([*scores(BASELINE), *scores(20, 0.5), *scores(60, seed=2)])[-1] is State.USUAL


def test_scores_that_never_differ_do_not_make_a_hair_an_alarm() -> None:
    assert fed([*[0.9] * BASELINE, *[0.901] * 100])[-1] is State.USUAL
    assert fed([*[0.9] * BASELINE, *[0.88] * 100])[-1] is State.LOW


def test_each_model_and_score_has_its_own_chart_and_the_oldest_go() -> None:
    drift = Drift(most=4)
    for model in ("a", "b", "c"):
        assert [
            change.score for change in drift.add(model, dict.fromkeys([*WATCHED[:2], "noise"], 0.5))
        ] == list(WATCHED[:2])
    assert [model for model, _ in drift.charts] == ["b", "b", "c", "c"]


def test_a_change_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Log:
        def warning(self, _: str, **values: object) -> None:
            told.append(f"{values['model']} {values['score']} {values['state']}")

        info = warning

    monkeypatch.setattr(figures, "log", Log())
    drift = Drift()
    for value in [*[0.9] * BASELINE, *[0.2] * 30]:
        for change in drift.add("m", {"technical": value}):
            assert isinstance(change, Change)
            figures.tell(change)
    assert told == ["m technical low"]


async def test_charts_outlive_a_restart(database_url: str) -> None:
    async with open_tables(database_url) as database:
        charts, drift = Charts(database), Drift()
        assert not (await charts.load()).charts
        for value in scores(BASELINE + 10):
            await charts.save(list(drift.add("m", {"technical": value, "overall": value})))
    async with open_tables(database_url) as database:
        assert (await Charts(database).load()).charts == drift.charts


async def test_the_longest_charts_are_the_last_to_be_forgotten(database_url: str) -> None:
    async with open_tables(database_url) as database:
        charts, drift = Charts(database), Drift()
        for model, count in (("a", 30), ("b", 10), ("c", 20)):
            for _ in range(count):
                await charts.save(list(drift.add(model, {"technical": 0.5})))
        assert [model for model, _ in (await charts.load()).charts] == ["b", "c", "a"]


async def test_two_replicas_save_a_new_chart_at_one_moment(postgres_url: str) -> None:
    async with open_tables(postgres_url) as mine, open_tables(postgres_url) as others:
        drift = Drift()
        for _ in range(9):
            list(drift.add("m", {"technical": 0.5}))
        row = {"model": "m", "score": "technical", "count": 10, "mean": 0.4, "squares": 0.0, "average": 0.4}
        with others.engine.connect() as connection, connection.begin():
            connection.execute(sa.insert(tables.charts).values(row))
            saving = asyncio.create_task(Charts(mine).save(list(drift.add("m", {"technical": 0.5}))))
            await asyncio.sleep(0.3)  # it waits for the other row, which it does not see yet
            assert not saving.done()
        await saving
        assert (await Charts(mine).load()).charts["m", "technical"].mean == 0.4
