"""The ledger of paid calls, on SQLite and on PostgreSQL: who may change what, and what is durable."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, closing

import pytest
import pytest_asyncio
import sqlalchemy as sa

from router.backends.protocol import Stored
from router.ledger import Claim, Ledger
from router.paid_calls import Call, CallState, reference_of
from router.tables import metadata
from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime.database import Database, open_database
from services.runtime.errors import MeshError

BACKEND = "openai/gpt-image"
WEEK = 7 * 86_400.0
SHORT = 0.9  # a lease to wait for

# What no dialect treats in its own way is tried on one.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MEDIA = (
    Stored(
        0,
        7,
        MediaRef(uri="blob:" + "a" * 64, sha256="a" * 64, media_type="image/png", size_bytes=2**33, width=16),
    ),
    Stored(1, -1, MediaRef(uri="blob:" + "b" * 64, sha256="b" * 64, media_type="video/mp4", frames=48)),
)


@pytest_asyncio.fixture
async def databases(database_url: str) -> AsyncIterator[list[Database]]:
    """The database as two replicas have it open."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_database(database_url, "the ledger", metadata))
            for _ in range(2)
        ]


@pytest.fixture
def ledgers(databases: list[Database]) -> list[Ledger]:
    return [Ledger(database, f"replica-{number}") for number, database in enumerate(databases)]


@pytest.fixture
def ledger(ledgers: list[Ledger]) -> Ledger:
    return ledgers[0]


async def opened(ledger: Ledger, request: str = "req-1", attempt: int = 1, backend: str = BACKEND) -> Claim:
    claim = await ledger.open("acme", request, attempt, backend, (7, -1), 0.25)
    assert claim
    return claim


async def newest(ledger: Ledger, request: str = "req-1") -> Call:
    call = await ledger.newest("acme", request)
    assert call
    return call


async def held(ledger: Ledger, claim: Claim, work: Coroutine[object, object, None]) -> None:
    """Do work while a call is held."""
    with closing(work):
        async with ledger.holding(claim):
            await work


async def begin(begun: asyncio.Event) -> None:
    begun.set()


async def expire(database: Database) -> None:
    """Let the leases of all calls run out."""
    await database.write(lambda connection: connection.execute(sa.text("UPDATE paid_calls SET lease_us = 1")))


async def test_a_call_is_read_as_it_was_written(ledgers: list[Ledger]) -> None:
    one, other = ledgers
    assert await one.newest("acme", "req-1") is None
    claim = await opened(one)
    call = await newest(other)
    assert call == claim.call
    assert (call.state, call.held, call.seeds, call.usd, call.job) == (
        CallState.PENDING,
        True,
        (7, -1),
        0.25,
        "",
    )
    await one.note_job(claim, "job-1", None)
    assert ((await newest(other)).job, (await newest(other)).usd) == ("job-1", 0.25)
    await one.succeed(claim, MEDIA, 0.5)
    call = await newest(other)
    assert (call.state, call.media, call.usd, call.held) == (CallState.SUCCEEDED, MEDIA, 0.5, False)
    assert call.updated_us > call.created_us


@ON_SQLITE
async def test_requests_of_tenants_that_are_called_alike_are_strangers(ledger: Ledger) -> None:
    await opened(ledger)
    assert await ledger.newest("other", "req-1") is None
    assert await ledger.open("other", "req-1", 1, BACKEND, (1,), 0.0)


def test_a_reference_names_one_call_and_fits_every_provider() -> None:
    references = {
        reference_of(tenant, request, attempt, backend)
        for tenant in ("a", "ab")
        for request in ("b", "bc")
        for attempt in (1, 11)
        for backend in ("c", "1c")
    }
    assert len(references) == 16
    assert all(len(each) == 38 and each.replace("-", "").isalnum() and each.isascii() for each in references)
    assert reference_of("a", "b", 1, "c") == reference_of("a", "b", 1, "c")


async def test_of_replicas_that_open_or_take_at_once_one_does(
    ledgers: list[Ledger], databases: list[Database]
) -> None:
    for attempt in (1, 2, 3):
        opening = [ledger.open("acme", "req-1", attempt, BACKEND, (1,), 0.0) for ledger in ledgers * 4]
        assert sum(claim is not None for claim in await asyncio.gather(*opening)) == 1
    call = await newest(ledgers[0])
    assert not any(await asyncio.gather(*(ledger.take(call) for ledger in ledgers * 4)))  # it is held
    await expire(databases[0])
    taken = [claim for claim in await asyncio.gather(*(each.take(call) for each in ledgers * 4)) if claim]
    assert len(taken) == 1
    assert (await newest(ledgers[1])).owner == taken[0].call.owner


async def test_who_lost_a_call_changes_it_no_more(ledgers: list[Ledger], databases: list[Database]) -> None:
    one, other = ledgers
    lost = await opened(one)
    await expire(databases[0])
    assert (await newest(one)).held is False
    claim = await other.take(lost.call)
    assert claim
    await one.note_job(lost, "job-1", 9.0)
    await one.doubt(lost, "LOST")
    await one.succeed(lost, MEDIA, 9.0)
    await one.fail(lost, "MODEL_FAILED")
    assert await newest(one) == claim.call
    await other.fail(claim, "NEVER_ARRIVED")
    assert (await newest(one)).state is CallState.FAILED


@pytest.mark.parametrize("state", [CallState.SUCCEEDED, CallState.FAILED])
@ON_SQLITE
async def test_a_settled_call_is_never_changed(
    ledger: Ledger, databases: list[Database], state: CallState
) -> None:
    claim = await opened(ledger)
    await (
        ledger.succeed(claim, MEDIA, None)
        if state is CallState.SUCCEEDED
        else ledger.fail(claim, "CANCELLED")
    )
    settled = await newest(ledger)
    await expire(databases[0])
    assert await ledger.take(settled) is None
    await ledger.leave(claim, "LOST")
    await ledger.note_job(claim, "job-2", 9.0)
    assert await newest(ledger) == settled


@ON_SQLITE
async def test_what_is_unknown_keeps_its_holder_in_doubt_and_loses_it_when_it_is_left(ledger: Ledger) -> None:
    claim = await opened(ledger)
    await ledger.doubt(claim, "LOST")
    call = await newest(ledger)
    assert (call.state, call.reason, call.held) == (CallState.UNKNOWN, "LOST", True)
    assert await ledger.take(call) is None
    await ledger.leave(claim, "CANNOT_TELL")
    call = await newest(ledger)
    assert (call.state, call.reason, call.held, call.usd) == (CallState.UNKNOWN, "CANNOT_TELL", False, 0.25)
    assert await ledger.take(call)


async def test_a_lease_is_renewed_while_it_is_held_and_ends_with_its_holder(
    databases: list[Database],
) -> None:
    ledger = Ledger(databases[0], "replica", lease=SHORT)
    claim = await opened(ledger)
    async with ledger.holding(claim):
        await asyncio.sleep(SHORT * 1.7)
        assert (await newest(ledger)).held
        assert await ledger.take(claim.call) is None
    async with asyncio.timeout(20):
        while (await newest(ledger)).held:
            await asyncio.sleep(0.05)
    assert await ledger.take(claim.call)


@ON_SQLITE
async def test_a_holder_whose_call_was_taken_over_is_stopped(databases: list[Database]) -> None:
    ledger = Ledger(databases[0], "replica", lease=SHORT)
    claim = await opened(ledger)

    async def taken_over() -> None:
        await expire(databases[1])
        assert await Ledger(databases[1], "other").take(claim.call)
        await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await held(ledger, claim, taken_over())


@ON_SQLITE
async def test_a_holder_that_cannot_renew_stops_before_its_lease_ends(
    databases: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(databases[0], "replica", lease=SHORT)
    claim = await opened(ledger)

    async def away(_: Database, __: object) -> None:
        raise MeshError(errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE, "away")

    monkeypatch.setattr(Database, "write", away)
    with pytest.raises(TimeoutError):
        await held(ledger, claim, asyncio.sleep(10))
    assert (await newest(ledger)).held
    begun = asyncio.Event()
    with pytest.raises(TimeoutError):  # nor does it begin anything after that
        await held(ledger, claim, begin(begun))
    assert not begun.is_set()


async def test_what_nobody_holds_is_listed_the_longest_untouched_first(
    ledger: Ledger, databases: list[Database]
) -> None:
    claims = [await opened(ledger, f"req-{number}") for number in range(4)]
    await opened(ledger, "req-held")
    await opened(ledger, "req-elsewhere", backend="runway/gen")
    await ledger.leave(claims[1], "LOST")
    await ledger.leave(claims[0], "LOST")
    await ledger.succeed(claims[2], MEDIA, None)
    await ledger.leave(claims[3], "LOST")

    async def listed(within: float = WEEK, limit: int = 16) -> list[str]:
        return [call.request_id for call in await ledger.unresolved(BACKEND, within=within, limit=limit)]

    assert await listed() == ["req-1", "req-0", "req-3"]
    assert await listed(limit=2) == ["req-1", "req-0"]
    assert await listed(within=0) == []
    await expire(databases[0])
    assert await listed() == ["req-held", "req-1", "req-0", "req-3"]


async def test_what_does_not_settle_is_listed_more_and_more_seldom(
    ledger: Ledger, databases: list[Database]
) -> None:
    await ledger.leave(await opened(ledger), "LOST")

    async def is_listed(age: float, untouched: float) -> bool:
        told = await newest(ledger)
        now = told.updated_us

        def move(connection: sa.Connection) -> None:
            values = {"created": round(now - age * 1e6), "updated": round(now - untouched * 1e6)}
            text = sa.text("UPDATE paid_calls SET created_us = :created, updated_us = :updated")
            connection.execute(text, values)

        await databases[0].write(move)
        found = await ledger.unresolved(BACKEND, within=WEEK, limit=16)
        await databases[0].write(
            lambda connection: connection.execute(sa.text(f"UPDATE paid_calls SET updated_us = {now}"))
        )
        return bool(found)

    assert await is_listed(age=3500, untouched=0)
    assert not await is_listed(age=86_400, untouched=5_000)
    assert await is_listed(age=86_400, untouched=5_500)


@ON_SQLITE
async def test_a_renewal_that_comes_too_late_holds_nothing(ledger: Ledger) -> None:
    claim = await opened(ledger)
    await ledger.leave(claim, "LOST")
    assert not await ledger._change(claim, {}, renew=True)
    assert not (await newest(ledger)).held


@ON_SQLITE
async def test_old_settled_calls_are_forgotten_and_open_ones_never(ledger: Ledger) -> None:
    await ledger.fail(await opened(ledger), "MODEL_FAILED", 0.1)
    await ledger.leave(await opened(ledger, "req-2"), "LOST")
    assert await ledger.forget(BACKEND) == 0
    assert await ledger.forget("runway/gen", age=0) == 0
    assert await ledger.forget(BACKEND, age=0) == 1
    assert await ledger.newest("acme", "req-1") is None
    assert await ledger.newest("acme", "req-2")
