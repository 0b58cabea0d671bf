"""The table of assets."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.assets.tables import assets
from services.runtime.database import Database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)  # integers, not floats: a time comes back as it went in


@dataclass(frozen=True)
class Record:
    """What is kept about an asset.

    `quality` is the serialized QualityMetrics: this room keeps scores, it does not read them. `sequence` grows
    with every asset stored and is 0 before that.
    """

    tenant: str
    id: str
    sha256: str
    media_type: str
    size_bytes: int
    width: int
    height: int
    frames: int
    generation_id: str = ""
    quality: bytes | None = None
    seed: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    sequence: int = 0


class Records:
    """Reads and writes records. Raises MeshError DEPENDENCY_UNAVAILABLE when the database does not answer in time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, record: Record) -> Record:
        """Store a record and return it with its sequence; when its tenant and id are taken, return the one there."""

        def insert(connection: sa.Connection) -> Record:
            statement = assets.insert().values(_to_row(record)).returning(assets.c.sequence)
            try:
                with connection.begin_nested():
                    return replace(record, sequence=connection.execute(statement).scalar_one())
            except sa.exc.IntegrityError:
                there = _find(connection, record.tenant, record.id)
                if there is None:
                    raise
                return there

        return await self._database.write(insert)

    async def get(self, tenant: str, asset_id: str) -> Record | None:
        """Return a tenant's asset of that id, or None."""
        return await self._database.read(lambda connection: _find(connection, tenant, asset_id))

    async def page(self, tenant: str, before: int | None, size: int) -> list[Record]:
        """Return up to `size` of a tenant's assets, newest first, those before sequence `before` when it is given."""
        query = assets.select().where(assets.c.tenant == tenant)
        if before is not None:
            query = query.where(assets.c.sequence < before)
        query = query.order_by(assets.c.sequence.desc()).limit(size)
        return await self._database.read(
            lambda connection: [_from_row(row) for row in connection.execute(query)]
        )

    async def delete(self, tenant: str, asset_id: str) -> Record | None:
        """Remove a tenant's asset and return what it was, or None when there is none."""

        def delete(connection: sa.Connection) -> Record | None:
            record = _find(connection, tenant, asset_id)
            if record is not None:
                connection.execute(assets.delete().where(assets.c.sequence == record.sequence))
            return record

        return await self._database.write(delete)

    async def empty(self) -> bool:
        """Return whether there is no record at all."""
        query = sa.select(assets.c.sha256).limit(1)
        return await self._database.read(lambda connection: connection.execute(query).first() is None)

    async def references(self, sha256: str) -> int:
        """Count the assets, of all tenants, that have these bytes."""
        query = sa.select(sa.func.count()).select_from(assets).where(assets.c.sha256 == sha256)
        # On the writer: it must see every write that was asked for before it.
        return await self._database.write(lambda connection: int(connection.execute(query).scalar_one()))


def _find(connection: sa.Connection, tenant: str, asset_id: str) -> Record | None:
    row = connection.execute(
        assets.select().where(assets.c.tenant == tenant, assets.c.id == asset_id)
    ).first()
    return None if row is None else _from_row(row)


def _to_row(record: Record) -> dict[str, Any]:
    row = {**vars(record), "created_us": (record.created_at - EPOCH) // MICROSECOND}
    del row["created_at"], row["sequence"]
    return row


def _from_row(row: sa.Row[Any]) -> Record:
    values = dict(row._mapping)
    created_at = EPOCH + values.pop("created_us") * MICROSECOND
    return Record(**values, created_at=created_at)
