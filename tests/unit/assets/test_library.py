"""Records and bytes stay in step, whatever fails and however many ask at once."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.assets.library import Library, open_library
from services.assets.records import Record, Records
from services.assets.tables import open_tables
from services.runtime.blobs import BlobStore
from services.runtime.errors import MeshError

DATA = b"any bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()


def record(asset_id: str) -> Record:
    return Record(
        tenant="local", id=asset_id, sha256=DIGEST, media_type="image/png", size_bytes=len(DATA), width=1, height=1, frames=1
    )  # fmt: skip


class FailingRecords(Records):
    """Records whose disk is full."""

    async def insert(self, record: Record) -> Record:
        raise OSError("no space left on device")


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    async with (
        open_tables(f"sqlite:///{tmp_path}/a.sqlite") as tables,
        open_library(Records(tables), BlobStore.open("", tmp_path)) as library,
    ):
        yield library


def failing(library: Library) -> Library:
    records = library.records
    return Library(FailingRecords(records._database), library.blobs)


async def test_bytes_go_again_when_their_record_cannot_be_stored(library: Library) -> None:
    with pytest.raises(OSError, match="no space"):
        await failing(library).store(record("one"), DATA)
    assert not await library.blobs.exists(DIGEST)


async def test_bytes_that_others_have_stay_when_a_record_cannot_be_stored(library: Library) -> None:
    await library.store(record("one"), DATA)
    with pytest.raises(OSError, match="no space"):
        await failing(library).store(record("two"), DATA)
    assert await library.blobs.exists(DIGEST)


class LateRecords(Records):
    """Records that are written after they were given up."""

    async def insert(self, record: Record) -> Record:
        await super().insert(record)
        raise TimeoutError


async def test_bytes_stay_when_their_record_was_written_though_nobody_waited_for_it(library: Library) -> None:
    records = library.records
    late = Library(LateRecords(records._database), library.blobs)
    with pytest.raises(TimeoutError):
        await late.store(record("one"), DATA)
    assert await library.records.get("local", "one") is not None
    assert await library.blobs.exists(DIGEST)


async def test_a_caller_that_leaves_does_not_leave_half_an_asset(library: Library) -> None:
    storing = asyncio.create_task(library.store(record("one"), DATA))
    await asyncio.sleep(0)
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    await library.close()
    there = await library.records.get("local", "one") is not None
    assert there == await library.blobs.exists(DIGEST)


async def test_no_record_outlives_its_bytes_however_many_store_and_delete_at_once(library: Library) -> None:
    async def come_and_go(number: int) -> None:
        asset_id = f"a{number}"
        await library.store(record(asset_id), DATA)
        if number % 3:
            await library.remove("local", asset_id)

    await asyncio.gather(*(come_and_go(number) for number in range(40)))
    assert await library.records.references(DIGEST) == 14
    assert await library.blobs.get_range(DIGEST, 0, len(DATA)) == DATA
    for number in range(0, 40, 3):
        await library.remove("local", f"a{number}")
    assert not await library.blobs.exists(DIGEST)


async def test_of_two_deletions_one_finds_nothing(library: Library) -> None:
    await library.store(record("one"), DATA)
    ends = await asyncio.gather(*(library.remove("local", "one") for _ in range(2)), return_exceptions=True)
    errors = [end for end in ends if end is not None]
    assert len(errors) == 1
    assert isinstance(errors[0], MeshError)
    assert errors[0].name == "NOT_FOUND"


async def test_a_sweep_takes_old_bytes_that_nobody_recorded_and_nothing_else(
    library: Library, tmp_path: Path
) -> None:
    await library.store(record("one"), DATA)
    old, fresh = [
        (await library.blobs.put(data, media_type="image/png")).sha256 for data in (b"old", b"fresh")
    ]
    foreign = tmp_path / "blobs" / "notes.txt"
    foreign.write_text("not ours")
    for digest in (DIGEST, old):
        os.utime(tmp_path / "blobs" / digest[:2] / digest, (0, 0))
    os.utime(foreign, (0, 0))
    assert await library.sweep(timedelta(hours=24)) == 1
    assert not await library.blobs.exists(old)
    assert await library.blobs.exists(DIGEST)
    assert await library.blobs.exists(fresh)
    assert foreign.exists()


async def test_bytes_that_are_put_again_are_fresh_again(library: Library, tmp_path: Path) -> None:
    await library.store(record("one"), DATA)
    ref = await library.blobs.put(b"old", media_type="image/png")
    os.utime(tmp_path / "blobs" / ref.sha256[:2] / ref.sha256, (0, 0))
    await library.blobs.put(b"old", media_type="image/png")
    assert await library.sweep(timedelta(hours=24)) == 0
    assert await library.blobs.get(ref) == b"old"


async def test_a_store_without_any_record_is_left_alone(library: Library, tmp_path: Path) -> None:
    ref = await library.blobs.put(b"old", media_type="image/png")
    os.utime(tmp_path / "blobs" / ref.sha256[:2] / ref.sha256, (0, 0))
    assert await library.sweep(timedelta(hours=24)) == 0
    assert await library.blobs.exists(ref.sha256)
