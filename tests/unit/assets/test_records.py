"""The table of assets, on a real SQLite file."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.assets.records import Record, Records
from services.assets.tables import open_tables
from services.runtime import database
from services.runtime.errors import MeshError


def record(asset_id: str, tenant: str = "local", sha256: str = "a" * 64) -> Record:
    return Record(
        tenant=tenant, id=asset_id, sha256=sha256, media_type="image/png", size_bytes=9, width=2, height=1, frames=1,
        generation_id="g", quality=b"\x01", seed=2**53, metadata={"prompt": "ein lächelnder Kater 😺"},
    )  # fmt: skip


@pytest.fixture
async def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/assets.sqlite"


async def ids(
    records: Records, tenant: str = "local", before: int | None = None, size: int = 100
) -> list[str]:
    return [r.id for r in await records.page(tenant, before, size)]


async def test_a_record_comes_back_whole_after_a_restart(url: str) -> None:
    async with open_tables(url) as tables:
        records = Records(tables)
        stored = await records.insert(record("one"))
    async with open_tables(url) as tables:
        records = Records(tables)
        there = await records.get("local", "one")
    assert there is not None
    assert there == stored
    assert there.metadata == {"prompt": "ein lächelnder Kater 😺"}
    assert there.sequence > 0


async def test_an_id_that_is_taken_gives_the_record_that_has_it(url: str) -> None:
    async with open_tables(url) as tables:
        records = Records(tables)
        first = await records.insert(record("one"))
        assert await records.insert(record("one", sha256="b" * 64)) == first
        assert await ids(records) == ["one"]


async def test_tenants_do_not_see_each_other(url: str) -> None:
    async with open_tables(url) as tables:
        records = Records(tables)
        await records.insert(record("one", "ann"))
        assert await records.get("bob", "one") is None
        assert await records.delete("bob", "one") is None
        assert await ids(records, "bob") == []
        assert (await records.insert(record("one", "bob"))).tenant == "bob"
        assert await records.references("a" * 64) == 2


async def test_pages_are_newest_first_and_do_not_shift_when_assets_come_and_go(url: str) -> None:
    async with open_tables(url) as tables:
        records = Records(tables)
        for number in range(6):
            await records.insert(record(str(number)))
        first = await records.page("local", None, 2)
        assert [r.id for r in first] == ["5", "4"]
        await records.insert(record("new"))
        await records.delete("local", "5")
        await records.delete("local", "2")
        assert await ids(records, before=first[-1].sequence, size=2) == ["3", "1"]


async def test_a_deleted_newest_number_is_not_given_again(url: str) -> None:
    async with open_tables(url) as tables:
        records = Records(tables)
        last = await records.insert(record("one"))
        await records.delete("local", "one")
        assert (await records.insert(record("two"))).sequence > last.sequence


async def test_many_writers_at_once_all_succeed(url: str) -> None:
    async with open_tables(url) as tables:
        records = Records(tables)
        stored = await asyncio.gather(*(records.insert(record(f"r{n % 20}")) for n in range(100)))
        assert len({r.sequence for r in stored}) == 20
        assert await records.references("a" * 64) == 20


async def test_a_database_that_does_not_answer_is_told_as_such_without_its_own_words(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", 50)
    async with open_tables(url) as tables:
        records = Records(tables)
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(MeshError) as caught:
                await records.insert(record("one"))
            other.execute("ROLLBACK")
        assert (await records.insert(record("one"))).sequence
    assert (caught.value.name, caught.value.retry_after) == ("DEPENDENCY_UNAVAILABLE", 1.0)
    assert "locked" not in caught.value.message
