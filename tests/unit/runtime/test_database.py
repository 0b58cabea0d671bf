"""Statements on real databases: what is finished, what passes through, and what a caller hears when it goes away."""

import asyncio
import os
import signal
import threading
import time

import pytest
import sqlalchemy as sa

from services.runtime import database as module
from services.runtime.database import SEQUENCE, open_database
from services.runtime.errors import MeshError
from tools.postgres import Postgres

tables = sa.MetaData()
words = sa.Table(
    "words",
    tables,
    sa.Column("id", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("word", sa.String(64), nullable=False, unique=True),
)


def add(word: str):
    return lambda connection: connection.execute(words.insert().values(word=word))


def all_words(connection: sa.Connection) -> list[str]:
    return list(connection.execute(sa.select(words.c.word).order_by(words.c.id)).scalars())


def open_words(url: str):
    return open_database(url, "the words", tables)


async def test_what_was_written_is_there_after_a_restart(database_url: str) -> None:
    async with open_words(database_url) as database:
        await database.write(add("one"))
    async with open_words(database_url) as database:
        assert await database.read(all_words) == ["one"]


async def test_a_write_is_whole_or_not_at_all_and_its_error_passes_through(database_url: str) -> None:
    def twice(connection: sa.Connection) -> None:
        add("two")(connection)
        add("one")(connection)

    async with open_words(database_url) as database:
        await database.write(add("one"))
        with pytest.raises(sa.exc.IntegrityError):
            await database.write(twice)
        assert await database.read(all_words) == ["one"]


async def test_a_write_that_has_begun_is_finished_though_its_caller_left_and_one_that_waits_is_not(
    database_url: str,
) -> None:
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(connection: sa.Connection) -> None:
        loop.call_soon_threadsafe(began.set)
        time.sleep(0.1)
        add("begun")(connection)

    async with open_words(database_url) as database:
        running = asyncio.create_task(database.write(slowly))
        await began.wait()
        waiting = asyncio.create_task(database.write(add("waits")))
        await asyncio.sleep(0)
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert await database.write(all_words) == ["begun"]


async def test_closing_finishes_what_was_asked_for_and_does_not_hold_up_the_loop(database_url: str) -> None:
    released = threading.Event()

    def slowly(connection: sa.Connection) -> None:
        assert released.wait(20), "the loop, which releases this, stood still"
        add("first")(connection)

    async with open_words(database_url) as database:
        writes = [asyncio.create_task(database.write(work)) for work in (slowly, add("second"))]
        asyncio.get_running_loop().call_later(0.05, released.set)
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    async with open_words(database_url) as database:
        assert await database.read(all_words) == ["first", "second"]


async def test_replicas_that_start_at_the_same_moment_make_the_tables_once(database_url: str) -> None:
    async def start(word: str) -> None:
        async with open_words(database_url) as database:
            await database.write(add(word))

    await asyncio.gather(*(start(str(number)) for number in range(6)))
    async with open_words(database_url) as database:
        assert len(await database.read(all_words)) == 6


async def test_writers_of_two_processes_do_not_read_what_the_other_is_about_to_change(
    database_url: str,
) -> None:
    def count_up(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":  # READ COMMITTED: who counts there takes a lock
            connection.exec_driver_sql("LOCK TABLE words")
        there = len(all_words(connection))
        time.sleep(0.005)
        add(str(there))(connection)

    async with open_words(database_url) as one, open_words(database_url) as other:
        await asyncio.gather(*(database.write(count_up) for database in (one, other) * 5))
        assert await one.read(all_words) == [str(number) for number in range(10)]


async def test_a_server_that_stopped_is_told_in_our_words_and_used_again_when_it_is_back(
    postgres: Postgres, postgres_url: str
) -> None:
    async with open_words(postgres_url) as database:
        await database.write(add("before"))
        await asyncio.to_thread(postgres.stop)
        try:
            for attempt in (database.write(add("lost")), database.read(all_words)):
                with pytest.raises(MeshError) as caught:
                    await attempt
                assert (caught.value.name, caught.value.retry_after) == ("DEPENDENCY_UNAVAILABLE", 1.0)
                assert caught.value.message == "the words cannot be reached; try again shortly"
        finally:
            await asyncio.to_thread(postgres.start)
        await database.write(add("after"))
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(postgres.start)
        await database.write(add("again"))  # though its connection is of the server before
        assert await database.read(all_words) == ["before", "after", "again"]


async def test_a_connection_that_is_cut_under_its_statement_is_told_in_our_words(
    postgres: Postgres, postgres_url: str
) -> None:
    def cut(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    async with open_words(postgres_url) as database:
        with pytest.raises(MeshError) as caught:
            await database.write(cut)
        assert caught.value.name == "DEPENDENCY_UNAVAILABLE"
        await database.write(add("after"))


async def test_a_statement_that_does_not_end_is_ended_by_the_server(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATEMENT_SECONDS", 0.3)
    async with open_words(postgres_url) as database:
        with pytest.raises(MeshError) as caught:
            await database.write(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(30)"))
        assert caught.value.name == "DEPENDENCY_UNAVAILABLE"
        await asyncio.wait_for(database.write(add("next")), 20)  # the writer's thread is free again


async def test_a_server_that_is_frozen_is_given_up_in_time_and_used_again_when_it_thaws(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_words(postgres_url) as database:
        process = await database.write(
            lambda connection: connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        )
        monkeypatch.setattr(module, "STATEMENT_SECONDS", 0.2)
        os.kill(process, signal.SIGSTOP)
        try:
            for word in ("frozen", "waits"):
                with pytest.raises(MeshError) as caught:
                    await database.write(add(word))
                assert caught.value.name == "DEPENDENCY_UNAVAILABLE"
        finally:
            os.kill(process, signal.SIGCONT)
        monkeypatch.undo()
        await database.write(add("after"))
        assert await database.read(all_words) == ["frozen", "after"], (
            "what had begun is finished, the rest is not"
        )


async def test_a_machine_that_never_answers_is_given_up_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.PATIENCE, "connect_timeout", 2)  # the least that libpq takes
    silent = await asyncio.start_server(lambda reader, _: reader.read(), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    began = time.monotonic()
    with pytest.raises(MeshError) as caught:
        async with open_words(f"postgresql+psycopg://u@127.0.0.1:{port}/db"):
            pass
    assert caught.value.name == "DEPENDENCY_UNAVAILABLE"
    assert time.monotonic() - began < 15  # not the two minutes of the system's own patience
    silent.close()


async def test_an_address_may_leave_the_driver_out(postgres_url: str) -> None:
    async with open_words(postgres_url.replace("+psycopg", "")) as database:
        await database.write(add("one"))


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
async def test_sqlite_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="needs a file"):
        async with open_words(url):
            pass


async def test_tables_of_another_version_are_told_by_what_they_lack(database_url: str) -> None:
    older = sa.MetaData()
    sa.Table("words", older, sa.Column("id", SEQUENCE, primary_key=True))
    async with open_database(database_url, "the words", older):
        pass
    with pytest.raises(ValueError, match="its table words, which has no word;"):
        async with open_words(database_url):
            raise AssertionError("it opened")


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "oracle-of-delphi://host/name"])
async def test_a_url_that_cannot_be_used_is_refused_and_not_told(url):
    with pytest.raises(ValueError, match=r"SQLAlchemy URL|needs a file") as caught:
        async with open_database(url, "the tables", sa.MetaData()):
            raise AssertionError("it opened")
    assert "delphi" not in str(caught.value)
