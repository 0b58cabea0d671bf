"""The ledger of paid calls: what was asked of providers for which request, and what became of it.

A request has one paid call at a time, whatever the backend: attempt n + 1 opens only when attempt n is FAILED, and of any
number of replicas one opens it. A call is held by who carries it out, under a lease that it renews; when the lease has
run out, its holder is dead, and another may take the call over. Every change names the holder that makes it.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog

from router.backends.protocol import Stored
from router.paid_calls import FINAL, OPEN, Call, CallState, call_of, key_of, pack, paid_calls, reference_of
from services.runtime import telemetry
from services.runtime.database import Database
from services.runtime.errors import MeshError

LEASE_SECONDS = 30.0
RENEWALS = 4  # in one lease
# A holder that cannot renew its lease stops after this share of it, so that what it sent last has arrived or is lost when
# another takes the call over: only then may "the provider has no such job" be believed.
OWN_SHARE = 2 / 3
# What does not settle in an hour is looked up more and more seldom: some hundred times in a week and not ten thousand,
# each of which may fetch a file that is of no use.
YOUNG_SECONDS = 3600.0
UNTOUCHED = 16
KEPT_SECONDS = 400 * 86_400.0

log = structlog.get_logger()
_calls = telemetry.meter.create_counter("vmesh.router.paid_calls", description="Paid calls by how they ended")


class Claim(NamedTuple):
    """A call that is ours to carry out, until a moment of the event loop's clock unless the lease is renewed."""

    call: Call
    until: float


class Ledger:
    """Reads and writes paid calls for one replica. `lease` is in seconds.

    Every method raises MeshError DEPENDENCY_UNAVAILABLE when the database does not answer; what returned is durable.
    """

    def __init__(self, database: Database, replica: str, lease: float = LEASE_SECONDS) -> None:
        self._database = database
        self._replica = replica
        self.lease = lease

    async def newest(self, tenant: str, request_id: str) -> Call | None:
        """Return the last call of a request, on any backend."""
        query = (
            paid_calls.select()
            .where(paid_calls.c.tenant == tenant, paid_calls.c.request_id == request_id)
            .order_by(paid_calls.c.attempt.desc())
            .limit(1)
        )

        def work(connection: sa.Connection) -> Call | None:
            row = connection.execute(query).one_or_none()
            return None if row is None else call_of(row, _now(connection))

        return await self._database.read(work)

    async def open(
        self, tenant: str, request_id: str, attempt: int, backend: str, seeds: Sequence[int], usd: float
    ) -> Claim | None:
        """Write a PENDING call before it is made; None when another was faster."""
        began, owner = asyncio.get_running_loop().time(), self._owner()

        def work(connection: sa.Connection) -> Call:
            now = _now(connection)
            values = {
                "tenant": tenant,
                "request_id": request_id,
                "attempt": attempt,
                "backend": backend,
                "state": CallState.PENDING,
                "reference": reference_of(tenant, request_id, attempt, backend),
                "usd": usd,
                "seeds": list(seeds),
                "media": [],
                "owner": owner,
                "lease_us": now + self._lease_us,
                "created_us": now,
                "updated_us": now,
            }
            return call_of(
                connection.execute(paid_calls.insert().values(values).returning(paid_calls)).one(), now
            )

        try:
            return self._claim(await self._database.write(work), began)
        except sa.exc.IntegrityError:
            return None

    async def take(self, call: Call) -> Claim | None:
        """Take an open call over whose holder is dead; None when there is a holder, or it was settled meanwhile."""
        began, owner = asyncio.get_running_loop().time(), self._owner()

        def work(connection: sa.Connection) -> Call | None:
            now = _now(connection)
            free = (*key_of(call), paid_calls.c.state.in_(OPEN), paid_calls.c.lease_us <= now)
            values = {"owner": owner, "lease_us": now + self._lease_us, "updated_us": now}
            update = paid_calls.update().where(*free).values(values).returning(paid_calls)
            row = connection.execute(update).one_or_none()
            return None if row is None else call_of(row, now)

        taken = await self._database.write(work)
        return None if taken is None else self._claim(taken, began)

    @asynccontextmanager
    async def holding(self, claim: Claim) -> AsyncIterator[None]:
        """Renew the lease while the body runs. Raises TimeoutError, also out of the body, when the lease is lost.

        Nothing may be awaited in the body after it let the call go: its next renewal would find that it is not ours.
        """
        if asyncio.get_running_loop().time() >= claim.until:  # this process stood still
            raise TimeoutError
        async with asyncio.timeout_at(claim.until) as limit:
            renewing = asyncio.create_task(self._renew(claim, limit))
            try:
                yield
            finally:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)

    async def note_job(self, claim: Claim, job: str, usd: float | None) -> None:
        """Write down the provider's id of a call, and what it costs where the provider said so."""
        await self._change(claim, {"job": job} | ({} if usd is None else {"usd": usd}))

    async def doubt(self, claim: Claim, reason: str) -> None:
        """Make a call UNKNOWN that is still ours: its answer was lost."""
        await self._change(claim, {"state": CallState.UNKNOWN, "reason": reason})

    async def succeed(self, claim: Claim, media: Sequence[Stored], usd: float | None) -> None:
        """Settle a call whose media is stored; without `usd` it cost what was expected."""
        cost = {} if usd is None else {"usd": usd}
        made = {"state": CallState.SUCCEEDED, "reason": "", "media": list(map(pack, media))}
        await self._let_go(claim, made | cost)

    async def fail(self, claim: Claim, reason: str, usd: float = 0.0) -> None:
        """Settle a call that brought nothing; `usd` is what it cost nevertheless."""
        await self._let_go(claim, {"state": CallState.FAILED, "reason": reason, "usd": usd})

    async def leave(self, claim: Claim, reason: str) -> None:
        """Let a call go of which nobody knows how it ended, or that still runs at the provider: it is UNKNOWN."""
        await self._let_go(claim, {"state": CallState.UNKNOWN, "reason": reason})

    async def unresolved(self, backend: str, *, within: float, limit: int) -> list[Call]:
        """Return up to `limit` open calls of the last `within` seconds that nobody holds, the longest untouched first.

        One that is older than `YOUNG_SECONDS` is among them when nobody touched it for one part of its age in `UNTOUCHED`.
        """

        def work(connection: sa.Connection) -> list[Call]:
            now = _now(connection)
            query = (
                paid_calls.select()
                .where(paid_calls.c.backend == backend, paid_calls.c.state.in_(OPEN))
                .where(paid_calls.c.created_us > now - round(within * 1e6), paid_calls.c.lease_us <= now)
                .where(
                    sa.or_(
                        paid_calls.c.created_us > now - round(YOUNG_SECONDS * 1e6),
                        (now - paid_calls.c.updated_us) * UNTOUCHED >= now - paid_calls.c.created_us,
                    )
                )
                .order_by(paid_calls.c.updated_us)
                .limit(limit)
            )
            return [call_of(row, now) for row in connection.execute(query)]

        return await self._database.read(work)

    async def forget(self, backend: str, age: float = KEPT_SECONDS) -> int:
        """Delete settled calls that are older than `age` seconds; return how many there were."""

        def work(connection: sa.Connection) -> int:
            old = paid_calls.c.created_us < _now(connection) - round(age * 1e6)
            settled = (paid_calls.c.backend == backend, paid_calls.c.state.in_(FINAL), old)
            return connection.execute(paid_calls.delete().where(*settled)).rowcount

        return await self._database.write(work)

    @property
    def _lease_us(self) -> int:
        return round(self.lease * 1e6)

    def _owner(self) -> str:
        """Return a name for one holding of one call: two tasks of a replica race as two replicas do."""
        return f"{self._replica[:100]}/{secrets.token_hex(8)}"

    def _claim(self, call: Call, began: float) -> Claim:
        return Claim(call, began + self.lease * OWN_SHARE)

    async def _renew(self, claim: Claim, limit: asyncio.Timeout) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self.lease / RENEWALS)
            began = clock()
            try:
                held = await self._change(claim, {}, renew=True)
            except MeshError:
                continue  # tried again until the time is up
            if not limit.expired():
                limit.reschedule(began + self.lease * OWN_SHARE if held else clock())

    async def _let_go(self, claim: Claim, values: Mapping[str, Any]) -> None:
        call, state = claim.call, str(values["state"])
        # Without an owner, lest a renewal that is under way take an open call into a hold that nobody has any more.
        if await self._change(claim, {**values, "owner": "", "lease_us": 0}):
            _calls.add(1, {"backend": call.backend, "state": state})
        else:
            log.error(
                "a paid call was taken over", backend=call.backend, reference=call.reference, wanted=state
            )

    async def _change(self, claim: Claim, values: Mapping[str, Any], renew: bool = False) -> bool:
        """Change a call that is open and ours; return whether it was."""

        def work(connection: sa.Connection) -> bool:
            now = _now(connection)
            ours = (*key_of(claim.call), paid_calls.c.owner == claim.call.owner, paid_calls.c.state.in_(OPEN))
            lease = {"lease_us": now + self._lease_us} if renew else {}
            update = paid_calls.update().where(*ours).values({**values, **lease, "updated_us": now})
            return connection.execute(update).rowcount == 1

        return await self._database.write(work)


def _now(connection: sa.Connection) -> int:
    """Return the database's time, so that replicas need not agree on theirs; SQLite's is this machine's."""
    if connection.dialect.name != "postgresql":
        return time.time_ns() // 1000
    return round(float(connection.execute(_POSTGRESQL_NOW).scalar_one()) * 1e6)


_POSTGRESQL_NOW = sa.select(sa.extract("epoch", sa.func.clock_timestamp()))
