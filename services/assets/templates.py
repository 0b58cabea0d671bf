"""The table of tenants' own templates."""

from dataclasses import dataclass

import sqlalchemy as sa

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.assets_pb2 import StoredTemplate
from services.assets.tables import templates
from services.runtime.database import Database
from services.runtime.errors import MeshError


@dataclass(frozen=True)
class Kept:
    """A template in the table; `sequence` grows with every one that is stored."""

    sequence: int
    template: StoredTemplate


@dataclass(frozen=True)
class Asked:
    """A template to keep: whose it is, and the request that brought it, by its id (may be empty) and its digest."""

    tenant: str
    request_id: str
    digest: str
    template: StoredTemplate


class Templates:
    """Keeps up to `most` templates of each tenant.

    Raises MeshError DEPENDENCY_UNAVAILABLE when the database does not answer in time.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most

    async def keep(self, asked: Asked) -> StoredTemplate:
        """Store a template; a request that was answered before gets the template that it made.

        On PostgreSQL requests of one moment may together pass the bound, by as many as there are writers.
        Raises MeshError REQUEST_ID_REUSED, FIELD_INVALID where the id is taken, QUOTA_EXHAUSTED.
        """

        def keep(connection: sa.Connection) -> StoredTemplate:
            if (known := _known(connection, asked)) is not None:
                return known
            held = sa.select(sa.func.count()).where(templates.c.tenant == asked.tenant)
            if connection.execute(held).scalar_one() >= self._most:
                raise MeshError(
                    errors_pb2.ERROR_REASON_QUOTA_EXHAUSTED,
                    f"there are {self._most} templates, as many as may be kept; delete one first",
                )
            try:
                with connection.begin_nested():
                    connection.execute(templates.insert().values(_row(asked)))
            except sa.exc.IntegrityError:  # another process was faster
                if (known := _known(connection, asked)) is None:
                    raise
                return known
            return asked.template

        return await self._database.write(keep)

    async def get(self, tenant: str, template_id: str) -> StoredTemplate | None:
        """Return a tenant's template of that id, or None."""
        query = templates.select().where(templates.c.tenant == tenant, templates.c.id == template_id)
        found = await self._database.read(lambda connection: connection.execute(query).first())
        return None if found is None else StoredTemplate.FromString(found.template)

    async def page(self, tenant: str, before: int | None, size: int) -> list[Kept]:
        """Return up to `size` of a tenant's templates, newest first, those before sequence `before` if it is given."""
        query = templates.select().where(templates.c.tenant == tenant)
        if before is not None:
            query = query.where(templates.c.sequence < before)
        query = query.order_by(templates.c.sequence.desc()).limit(size)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Kept(row.sequence, StoredTemplate.FromString(row.template)) for row in rows]

    async def delete(self, tenant: str, template_id: str) -> bool:
        """Remove a tenant's template; tell whether it was there."""
        statement = templates.delete().where(templates.c.tenant == tenant, templates.c.id == template_id)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount > 0)


def _known(connection: sa.Connection, asked: Asked) -> StoredTemplate | None:
    """Return what this very request made before, None where it is new; raises MeshError where one of its names is taken."""
    own = templates.select().where(templates.c.tenant == asked.tenant)
    if asked.request_id:
        there = connection.execute(own.where(templates.c.request_id == asked.request_id)).first()
        if there is not None:
            if there.asked == asked.digest:
                return StoredTemplate.FromString(there.template)
            raise MeshError(
                errors_pb2.ERROR_REASON_REQUEST_ID_REUSED,
                f"request_id {asked.request_id!r} made another template; use another one",
                field="request_id",
            )
    if connection.execute(own.where(templates.c.id == asked.template.id)).first() is not None:
        raise MeshError(
            errors_pb2.ERROR_REASON_FIELD_INVALID,
            f"id: there is a template {asked.template.id!r} already; delete it, or take another id",
            field="id",
        )
    return None


def _row(asked: Asked) -> dict[str, object]:
    return {
        "tenant": asked.tenant,
        "id": asked.template.id,
        "request_id": asked.request_id or None,
        "asked": asked.digest,
        "template": asked.template.SerializeToString(deterministic=True),
    }
