"""Records and their bytes kept in step: no record without bytes, no bytes kept for a record that is gone.

Two requests about the same bytes take turns (one asset deleted while another with the same bytes is recorded must not
end with a record whose bytes went). The turns are kept in this process; a store shared by several processes needs one
of them to do the deleting.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from scrollintel.visual.v1 import errors_pb2
from services.assets.records import Record, Records
from services.runtime.blobs import BlobStore
from services.runtime.errors import MeshError

T = TypeVar("T")

STRIPES = 64


class Library:
    """Stores, adopts and removes assets.

    A change that has begun is finished even when its caller goes away, so that none is ever left half done.
    """

    def __init__(self, records: Records, blobs: BlobStore) -> None:
        self.records = records
        self.blobs = blobs
        self._turns = [asyncio.Lock() for _ in range(STRIPES)]
        self._changes: set[asyncio.Task[Any]] = set()

    async def store(self, record: Record, data: bytes) -> Record:
        """Store bytes and their record; when the record cannot be stored, bytes that were new go again."""
        return await self._to_the_end(self._store(record, data))

    async def adopt(self, record: Record) -> Record:
        """Record bytes that lie in the store; the same id with the same bytes returns the record there is.

        Raises MeshError NOT_FOUND when the bytes are not there, FIELD_INVALID when they have another size than the
        record says, REQUEST_ID_REUSED when the id has other bytes.
        """
        return await self._to_the_end(self._adopt(record))

    async def remove(self, tenant: str, asset_id: str) -> None:
        """Remove an asset, and its bytes when no other asset has them. Raises MeshError NOT_FOUND."""
        await self._to_the_end(self._remove(tenant, asset_id))

    async def get(self, tenant: str, asset_id: str) -> Record:
        """Return an asset's record. Raises MeshError NOT_FOUND."""
        record = await self.records.get(tenant, asset_id)
        if record is None:
            raise _no_asset(asset_id)
        return record

    async def sweep(self, age: timedelta) -> int:
        """Delete bytes that nobody recorded and that were last written longer than `age` ago; return how many.

        They are what a generation left on its way: drawings before they were enlarged, pictures that were refused.
        Where there is no record at all nothing is deleted: a store without its records is more likely a mistake.
        """
        if await self.records.empty():
            return 0
        before, swept = datetime.now(UTC) - age, 0
        for sha256 in await self.blobs.older(before):
            async with self._turn(sha256):
                if await self.records.references(sha256) == 0 and await self.blobs.is_older(sha256, before):
                    await self.blobs.delete(sha256)
                    swept += 1
        return swept

    async def close(self) -> None:
        """Wait for the changes that have begun."""
        await asyncio.gather(*self._changes, return_exceptions=True)

    async def _store(self, record: Record, data: bytes) -> Record:
        async with self._turn(record.sha256):
            known = await self.blobs.exists(record.sha256)
            try:
                await self.blobs.put(
                    data,
                    media_type=record.media_type,
                    width=record.width,
                    height=record.height,
                    frames=record.frames,
                )
                return await self.records.insert(record)
            except BaseException:
                # A record that was given up may have been written all the same: what it names must stay.
                if not known and await self.records.references(record.sha256) == 0:
                    await self.blobs.delete(record.sha256)
                raise

    async def _adopt(self, record: Record) -> Record:
        async with self._turn(record.sha256):
            there = await self.records.get(record.tenant, record.id)
            if there is None:
                size = await self.blobs.size(record.sha256)
                if size != record.size_bytes:
                    rule = f"media.size_bytes: must be the size of the stored media, {size}"
                    raise MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field="media.size_bytes")
                there = await self.records.insert(record)
        if there.sha256 != record.sha256:
            raise MeshError(
                errors_pb2.ERROR_REASON_REQUEST_ID_REUSED,
                f"id {record.id!r} names an asset with other media; use another id",
                field="id",
            )
        return there

    async def _remove(self, tenant: str, asset_id: str) -> None:
        record = await self.get(tenant, asset_id)
        async with self._turn(record.sha256):
            if await self.records.delete(tenant, asset_id) is None:  # gone while this one waited for its turn
                raise _no_asset(asset_id)
            if await self.records.references(record.sha256) == 0:
                await self.blobs.delete(record.sha256)

    def _turn(self, sha256: str) -> asyncio.Lock:
        return self._turns[int(sha256[:8], 16) % STRIPES]

    async def _to_the_end(self, change: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)


@asynccontextmanager
async def open_library(records: Records, blobs: BlobStore) -> AsyncIterator[Library]:
    """Open a library and, on leaving, wait for the changes that have begun."""
    library = Library(records, blobs)
    try:
        yield library
    finally:
        await library.close()


def _no_asset(asset_id: str) -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, f"there is no asset {asset_id!r}", field="id")
