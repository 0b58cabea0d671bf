"""What is recorded is there after a restart, on every replica, once; and routing goes on without a database."""

import asyncio
import math
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import sqlalchemy as sa

from router.entries import load_entries
from router.learning import Learning
from router.performance import Performance, keeping, open_performance, statements, store
from router.performance.rows import run_row, runs, verdicts
from router.performance.statements import VERDICTS
from router.runs import Run, Verdict, Work
from router.settings import BACKENDS_FILE
from router.tables import metadata
from scrollintel.visual.v1 import errors_pb2
from services.runtime.database import Database, open_database
from services.runtime.errors import MeshError
from tests.unit.router.performance.remembered import Listener, run, verdict
from tools.postgres import Postgres

NEVER = 3600.0  # seconds between two looks, where a test looks by itself


@asynccontextmanager
async def opened(
    url: str, listener: Listener | None = None, replica: str = "one", merge_seconds: float = NEVER
) -> AsyncIterator[Performance]:
    async with (
        open_database(url, "the performance database", metadata) as database,
        open_performance(database, listener or Listener(), replica, merge_seconds) as performance,
    ):
        yield performance


@asynccontextmanager
async def still(
    url: str, listener: Listener | None = None, replica: str = "one"
) -> AsyncIterator[Performance]:
    """The same, but for what it does by itself."""
    async with open_database(url, "the performance database", metadata) as database:
        performance = Performance(database, listener or Listener(), replica)
        await performance.load()
        yield performance


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ELSEWHERE_SECONDS", 0.01)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def count(performance: Performance, table: sa.Table = runs) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    return await performance._database.read(lambda connection: connection.execute(query).scalar_one())


async def refused(judging: AbstractAsyncContextManager[object] | object) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await judging  # type: ignore[misc]
    return caught.value


async def test_runs_and_verdicts_come_back_whole_after_a_restart(database_url: str) -> None:
    ended = [
        run("a", experiment="e", arm="b", shadow=True),
        run("b", outcome="MODEL_FAILED", usd=0.0),
        run("c"),
    ]
    said = verdict("c", quality=0.123456789, unsafe=False, rating=4)
    async with opened(database_url) as performance:
        for one in ended:
            performance.record(one)
        await performance.judge(said)
    again = Listener()
    async with opened(database_url, again):
        assert again.runs == ended
        assert again.verdicts == [(ended[2], said)]


async def test_runs_are_written_soon_without_being_asked_for(database_url: str) -> None:
    async with opened(database_url) as performance:
        performance.record(run("a"))
        await until(lambda: performance.waiting == 0)
        async with asyncio.timeout(20):
            while not await count(performance):
                await asyncio.sleep(0.01)


async def test_closing_writes_down_what_waits(database_url: str) -> None:
    async with opened(database_url) as performance:
        for number in range(250):
            performance.record(run(str(number)))
    again = Listener()
    async with opened(database_url, again):
        assert again.names == [str(number) for number in range(250)]


async def test_the_newest_runs_of_each_backend_are_replayed_in_the_order_that_things_happened(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "REPLAYED", 3)
    async with opened(database_url) as performance:
        for number in range(5):
            performance.record(run(f"a{number}", backend="a"))
            performance.record(run(f"b{number}", backend="b"))
        for name in ("a4", "a2", "a0"):
            await performance.judge(verdict(name))
        performance.record(run("a5", backend="a"))
    again = Listener()
    async with opened(database_url, again):
        assert again.names == ["a3", "a4", "a5", "b2", "b3", "b4"]
        assert [judged.request_id for judged, _ in again.verdicts] == ["a4"]
        of_a = again.all[: len(again.all) - 3]
        assert of_a == sorted(of_a), "a5 ended after a4 was judged"


async def test_a_verdict_judges_the_runs_that_delivered_to_its_tenant(database_url: str) -> None:
    listener = Listener()
    async with opened(database_url, listener) as performance:
        failed, delivered = run("a", outcome="MODEL_FAILED"), run("a", attempt=2)
        other, shadow = run("b", generation_id=delivered.generation_id), run("a", shadow=True)
        for one in (failed, delivered, other, shadow, run("c", outcome="CANCELLED"), run("a", tenant="bob")):
            performance.record(one)
        assert await performance.judge(verdict("a")) == [delivered], "though it is not written yet"
        assert await performance.judge(verdict(delivered.generation_id)) == [other, delivered]
        assert await performance.judge(verdict("a"), shadow=True) == [shadow]
        assert [judged for judged, _ in listener.verdicts] == [delivered, other, delivered, shadow]
        for nobodys in (
            verdict("c"),
            verdict("none"),
            verdict("b", tenant="bob"),
            verdict("a\0"),
            verdict(""),
        ):
            error = await refused(performance.judge(nobodys))
            assert (error.name, error.field) == ("NOT_FOUND", "request_id")
    assert len(listener.verdicts) == 4


async def test_a_verdict_that_is_quicker_than_the_run_it_is_about_finds_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ELSEWHERE_SECONDS", 0.3)
    async with still(database_url) as here, still(database_url, replica="two") as elsewhere:
        ended = run("a")
        elsewhere.record(ended)
        judging = asyncio.create_task(here.judge(verdict("a")))
        await asyncio.sleep(0.05)
        await elsewhere.flush()
        assert await judging == [ended]


async def test_no_result_is_judged_without_end(database_url: str) -> None:
    async with opened(database_url) as performance:
        performance.record(run("a"))
        for _ in range(VERDICTS):
            await performance.judge(verdict("a"))
        error = await refused(performance.judge(verdict("a")))
        assert (error.name, error.field) == ("QUOTA_EXHAUSTED", "request_id")
        assert await count(performance, verdicts) == VERDICTS


async def test_replicas_learn_the_same_from_one_another_and_nothing_twice(database_url: str) -> None:
    heard = {"one": Listener(), "two": Listener()}
    async with (
        opened(database_url, heard["one"], "one", 0.02) as one,
        opened(database_url, heard["two"], "two", 0.02) as two,
    ):
        for number in range(150):
            for performance, name in ((one, "one"), (two, "two")):
                ended = run(f"{name} {number}")
                heard[name].observe(ended)  # as the fleet of each does
                performance.record(ended)
            await asyncio.sleep(0)
        await until(lambda: all(len(listener.runs) == 300 for listener in heard.values()))
        await one.judge(verdict("two 7"))  # told to the replica that did not run it
        await until(lambda: bool(heard["two"].verdicts))
        await asyncio.sleep(0.1)
    everything = {f"{name} {number}" for name in heard for number in range(150)}
    for listener in heard.values():
        assert sorted(listener.names) == sorted(everything)
        assert [judged.request_id for judged, _ in listener.verdicts] == ["two 7"]


async def test_others_get_their_turn_while_much_is_learned(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "AT_ONCE", 10)
    listener, turns = Listener(), set()

    async def take_turns() -> None:
        while True:
            turns.add(len(listener.runs))
            await asyncio.sleep(0)

    async with still(database_url, listener, "two") as performance, still(database_url) as one:
        for number in range(100):
            one.record(run(str(number)))
        await one.flush()
        other = asyncio.create_task(take_turns())
        await performance.merge()
        other.cancel()
    assert len(listener.runs) == 100
    assert len(turns) >= 10


async def test_a_row_that_turns_up_after_later_ones_is_neither_lost_nor_heard_twice(
    postgres_url: str,
) -> None:
    """Of two transactions the one that began first commits last: its row has the lower number."""
    early, late = Listener(), Listener()
    async with still(postgres_url, early, "early") as performance:
        engine = sa.create_engine(postgres_url)
        with engine.connect() as slow:
            slow.execute(runs.insert().values(run_row(run("slow"), "other", 1)))
            with engine.begin() as quick:
                quick.execute(runs.insert().values(run_row(run("quick"), "other", 2)))
            await performance.merge()
            assert early.names == ["quick"]
            async with still(postgres_url, late, "late") as started:  # while the transaction is open
                assert late.names == ["quick"]
                slow.commit()
                for _ in range(2):
                    await performance.merge()
                    await started.merge()
        engine.dispose()
    assert early.names == late.names == ["quick", "slow"]


async def test_a_backend_that_is_found_later_is_recalled_without_what_comes_by_itself(
    database_url: str,
) -> None:
    async with opened(database_url) as performance:
        performance.record(run("a"))
        performance.record(run("b", backend="other"))
    listener = Listener()
    async with still(database_url, listener, "two") as performance, still(database_url) as one:
        listener.runs.clear()
        one.record(run("c"))
        await one.flush()
        await performance.recall("house")
        assert listener.names == ["a"]
        await performance.recall("house")
        assert listener.names == ["a"], "what is known is not learned twice"
        await performance.merge()
        assert listener.names == ["a", "c"]


async def test_runs_wait_while_the_database_is_away_and_arrive_once(
    postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keeping, "RETRY_SECONDS", (0.05,))
    async with opened(postgres_url, merge_seconds=0.05) as performance:
        performance.record(run("before"))
        await performance.flush()
        await asyncio.to_thread(postgres.stop)
        try:
            for number in range(150):
                performance.record(run(str(number)))
            assert (await refused(performance.judge(verdict("before")))).name == "DEPENDENCY_UNAVAILABLE"
            await asyncio.sleep(0.3)
            await until(lambda: performance.waiting == 150)  # and not those on their way to fail
        finally:
            await asyncio.to_thread(postgres.start)
        await until(lambda: performance.waiting == 0)
        await performance.flush()
        assert await count(performance) == 151
        assert await performance.judge(verdict("before"))
    told = capsys.readouterr().out
    assert told.count("runs are written down later") == 1, "once an outage, not once an attempt"
    assert told.count("runs are written down again") == 1


class Forgetful(Database):
    """A database that does what it is asked for, and loses its first answer on the way."""

    lost = False

    async def write(self, statements):
        answer = await super().write(statements)
        if not self.lost:
            object.__setattr__(self, "lost", True)
            raise MeshError(errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE, "no answer")
        return answer


async def test_a_batch_whose_answer_was_lost_is_not_recorded_twice(database_url: str) -> None:
    async with open_database(database_url, "the performance database", metadata) as database:
        performance = Performance(Forgetful(**vars(database)), Listener(), "one")
        performance.record(run("a"))
        performance.record(run("b"))
        assert (await refused(performance.flush())).name == "DEPENDENCY_UNAVAILABLE"
        assert performance.waiting == 2
        performance.record(run("c"))
        await performance.flush()
        assert await count(performance) == 3


async def test_the_oldest_runs_are_dropped_where_the_database_is_away_for_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUFFER", 5)
    async with open_database(database_url, "the performance database", metadata) as database:
        performance = Performance(Forgetful(**vars(database)), Listener(), "one")
        for number in range(8):
            performance.record(run(str(number)))
        assert performance.waiting == 5


async def test_a_run_that_cannot_be_recorded_holds_up_no_other(database_url: str) -> None:
    async with opened(database_url) as performance:
        for number in range(7):
            performance.record(run(str(number), seconds=math.nan if number == 3 else 1.0))
        performance.record(run("huge", attempt=2**70))
        performance.record(run("last"))
        await performance.flush()
    again = Listener()
    async with opened(database_url, again):
        assert again.names == ["0", "1", "2", "4", "5", "6", "last"]


async def test_recording_waits_for_no_write(database_url: str) -> None:
    released = threading.Event()
    async with opened(database_url) as performance:
        blocked = asyncio.create_task(performance._database.write(lambda _: released.wait(20)))
        await asyncio.sleep(0)
        for number in range(1000):
            performance.record(run(str(number)))
        assert performance.waiting == 1000
        released.set()
        assert await blocked, "released only when all runs were recorded"


class Broken(Listener):
    """A learner that cannot take one of the runs."""

    def observe(self, run: Run) -> None:
        if run.request_id == "bad":
            raise ZeroDivisionError
        super().observe(run)

    def judge(self, run: Run, verdict: Verdict) -> None:
        raise ZeroDivisionError


async def test_a_row_that_nothing_can_be_learned_from_stops_nobody_from_starting(database_url: str) -> None:
    async with opened(database_url) as performance:
        for name in ("bad", "good"):
            performance.record(run(name))
        await performance.judge(verdict("good"))
    again = Broken()
    async with opened(database_url, again) as performance:
        assert again.names == ["good"]
        assert await performance.judge(verdict("good"))


async def test_the_newest_runs_are_kept_and_what_is_beyond_goes_with_its_verdicts_in_small_bites(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "KEPT", 5)
    monkeypatch.setattr(store, "BITE_SECONDS", 0)
    monkeypatch.setattr(statements, "PAGE", 2)
    bites: list[int] = []
    forget = statements.forget

    def counted(connection: sa.Connection, last: int) -> int:
        deleted = forget(connection, last)
        bites.append(deleted)
        return deleted

    monkeypatch.setattr(statements, "forget", counted)
    async with still(database_url) as performance, still(database_url, replica="two") as other:
        await performance.forget()
        assert not bites
        for number in range(12):
            performance.record(run(str(number)))
        for name in ("0", "6", "6", "7", "11"):
            await performance.judge(verdict(name))
        await asyncio.gather(performance.forget(), other.forget())
        assert await count(performance) == 5
        assert await count(performance, verdicts) == 2
        assert max(bites) == 2
        assert sum(bites) == 7 + 3
        assert (await refused(performance.judge(verdict("6")))).name == "NOT_FOUND"
        assert await performance.judge(verdict("7"))


async def test_a_router_that_starts_again_knows_what_it_knew(database_url: str) -> None:
    entries = load_entries(BACKENDS_FILE)[:2]
    before, after = Learning(entries), Learning(entries)
    rng = random.Random(3)
    async with opened(database_url, before) as performance:
        for number in range(80):
            work = Work(steps=rng.randint(4, 30), megapixels=rng.choice([0.262144, 1.048576]), images=1)
            seconds = 0.4 + 0.11 * work.steps * work.megapixels * rng.uniform(0.9, 1.1)
            ended = run(str(number), backend=rng.choice(entries).name, work=work, seconds=seconds, beside=0)
            before.observe(ended)  # as the fleet does
            performance.record(ended)
            if number % 3 == 0:
                await performance.judge(verdict(str(number), quality=rng.random()))
    async with opened(database_url, after):
        for entry in entries:
            work = Work(steps=20, megapixels=1.048576, images=2)
            known, again = before.forecast(entry.name), after.forecast(entry.name)
            assert again.seconds(work) == pytest.approx(known.seconds(work), rel=1e-4)
            assert again.deviation(work) == pytest.approx(known.deviation(work), rel=1e-4)
            assert again.seconds(work) != pytest.approx(
                Learning(entries).forecast(entry.name).seconds(work), rel=0.01
            )
            assert after.quality(entry.name) == before.quality(entry.name)
