"""A backend of a paid provider, over a provider that does what a test says: what is bought once, and what callers hear."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import sqlalchemy as sa
from PIL import Image

from router import breaker
from router.backends import paid, settling
from router.backends.paid import PaidBackend
from router.backends.protocol import BackendEvent, Capabilities, Job, Recalled, Step, Stored
from router.backends.provider import CannotTellError, Cost, LostError, Media, NotStartedError, Ticket
from router.demand import Modality
from router.execution import Execution
from router.fleet import Fleet
from router.ledger import Ledger
from router.paid_calls import Call, CallState
from router.probing import probe
from router.sizes import Size
from router.snapshot import State
from router.tables import metadata
from scrollintel.visual.v1 import errors_pb2
from services.runtime import identity
from services.runtime.blobs import BlobStore
from services.runtime.database import Database, open_database
from services.runtime.errors import MeshError
from tests.contract.providers.samples import mp4
from tests.unit.router.running import NEVER, PAID, POLICY, Diary, collect, order
from tests.unit.router.scripted import entry

SECRET = "words of the provider, with a key in them"
USD = 0.25
IMAGES = Capabilities(Modality.TEXT_TO_IMAGE, 1, 4, (Size(16, 16),))
ATTENTIVE = 5.0  # seconds: nothing here takes as long
IN_TIME = 1.0  # seconds: a call is opened and sent in less, on a busy machine too


def picture(kind: str = "PNG", width: int = 24, height: int = 16) -> bytes:
    """A file of noise, so that what is cut off is missed."""
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def media(*files: bytes) -> tuple[Media, ...]:
    return tuple(Media(index, data, "image/png") for index, data in enumerate(files))


def failure(name: str) -> MeshError:
    return MeshError(
        errors_pb2.ErrorReason.Value(f"ERROR_REASON_{name}"), "the provider failed", retry_after=2.0
    )


@dataclass(eq=False)
class ScriptedProvider:
    """Takes jobs as `submits` says, tells of them what `follows` says; `gates` hold a method until they are set."""

    submits: Ticket | Exception = field(default_factory=lambda: Ticket("job-1", usd=USD))
    follows: list[Step | Cost | Media | Exception] = field(default_factory=lambda: list(media(picture())))
    finds: Ticket | Exception | None = None
    cancels: bool | Exception = True
    capabilities: Capabilities = IMAGES
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    called: list[str] = field(default_factory=list)

    def state(self) -> State:
        return State.NOT_CONFIGURED

    async def submit(self, job: Job, reference: str, timeout: float) -> Ticket:
        return await self._do("submit", self.submits)

    async def follow(self, ticket: Ticket, timeout: float) -> AsyncGenerator[Step | Cost | Media]:
        await self._do("follow", None)
        for event in self.follows:
            yield await self._do("", event)

    async def find(self, reference: str, timeout: float) -> Ticket | None:
        return await self._do("find", self.finds)

    async def cancel(self, ticket: Ticket, timeout: float) -> bool:
        return await self._do("cancel", self.cancels)

    async def _do(self, name: str, answer: Any) -> Any:
        if name:
            self.called.append(name)
        if gate := self.gates.get(name):
            await gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass(eq=False)
class Till:
    """A paid backend, what it is made of, and what stands in its ledger."""

    provider: ScriptedProvider
    database: Database
    ledger: Ledger
    blobs: BlobStore
    backend: PaidBackend

    def another(self, name: str) -> PaidBackend:
        """Another backend of the same router, of a provider that must not be called."""
        nobody = ScriptedProvider(submits=AssertionError(), finds=AssertionError())
        return PaidBackend(entry(name), nobody, self.ledger, self.blobs)

    async def buy(
        self, request: str = "req-1", *, seeds: tuple[int, ...] = (7,), seconds: float = ATTENTIVE
    ) -> list[BackendEvent]:
        return await bought(self.backend, request, seeds, seconds)

    async def fail(self, **changes: Any) -> MeshError:
        """Buy, and return how that failed."""
        with pytest.raises(MeshError) as failed:
            await self.buy(**changes)
        assert SECRET not in str(failed.value)
        return failed.value

    async def call(self, request: str = "req-1") -> Call:
        call = await self.ledger.newest(identity.LOCAL_TENANT, request)
        assert call
        return call

    async def until(self, state: CallState, request: str = "req-1") -> Call:
        async with asyncio.timeout(ATTENTIVE):
            while (call := await self.call(request)).state is not state:
                await asyncio.sleep(0.01)
        return call

    async def expire(self) -> None:
        """Let the lease of every call run out."""
        statement = sa.text("UPDATE paid_calls SET lease_us = 0")
        await self.database.write(lambda connection: connection.execute(statement))

    async def reached(self, method: str, times: int = 1) -> None:
        async with asyncio.timeout(ATTENTIVE):
            while self.provider.called.count(method) < times:
                await asyncio.sleep(0.005)


async def bought(
    backend: PaidBackend, request: str, seeds: tuple[int, ...] = (7,), seconds: float = ATTENTIVE
) -> list[BackendEvent]:
    job = Job(request, "a lighthouse", "", seeds, 1, 0.0, Size(16, 16))
    async with aclosing(backend.execute(job, seconds)) as events:
        return [event async for event in events if not isinstance(event, Recalled)]


def stored(events: list[BackendEvent]) -> list[Stored]:
    return [event for event in events if isinstance(event, Stored)]


@pytest_asyncio.fixture
async def till(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Till]:
    monkeypatch.setattr(paid, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(paid, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(settling, "SAVE_PAUSES", (0.01, 0.01))
    provider, blobs = ScriptedProvider(), BlobStore.open("", tmp_path)
    async with open_database(f"sqlite:///{tmp_path / 'ledger'}", "the ledger", metadata) as database:
        ledger = Ledger(database, "replica")
        backend = PaidBackend(entry(price_usd=0.1), provider, ledger, blobs)
        yield Till(provider, database, ledger, blobs, backend)
        await backend.close()


async def test_what_is_asked_for_again_is_delivered_and_not_paid_for_again(till: Till) -> None:
    till.provider.follows = [Step(1, 3), Step(3, 3), *media(picture(), picture("JPEG", 8, 40))]
    events = await till.buy(seeds=(7, 8))
    assert events[:2] == [Step(1, 3), Step(3, 3)]
    one, other = stored(events[2:])
    assert (one.index, one.seed, one.media.media_type, one.media.width, one.media.height) == (
        0,
        7,
        "image/png",
        24,
        16,
    )
    assert (other.index, other.seed, other.media.media_type, other.media.height) == (1, 8, "image/jpeg", 40)
    assert await till.blobs.get(other.media) == picture("JPEG", 8, 40)
    assert await till.buy(seeds=(7, 8)) == [one, other]
    assert till.provider.called == ["submit", "follow"]
    call = await till.call()
    assert (call.state, call.job, call.usd, call.attempt) == (CallState.SUCCEEDED, "job-1", USD, 1)


async def test_the_price_list_tells_the_cost_where_the_provider_does_not(till: Till) -> None:
    till.provider.submits = Ticket("", media(picture(), picture()))
    await till.buy(seeds=(1, 2))
    assert (await till.call()).usd == pytest.approx(0.2)


async def test_a_backend_without_seeds_says_so_and_fewer_pictures_are_better_than_none(till: Till) -> None:
    till.provider.capabilities = Capabilities(Modality.VIDEO, 1, 4, (Size(16, 16),), seeds=False)
    till.provider.submits = Ticket("", (Media(1, mp4(), "video/mp4"), Media(5, b"", "video/mp4")))
    (only,) = stored(await till.buy(seeds=(1, 2)))
    assert (only.index, only.seed, only.media.media_type) == (1, -1, "video/mp4")
    assert (only.media.width, only.media.height, only.media.frames) == (32, 32, 4)


async def test_the_state_is_the_providers(till: Till) -> None:
    assert await till.backend.probe() is State.NOT_CONFIGURED
    assert till.backend.capabilities is till.provider.capabilities


async def test_a_refused_call_has_failed_and_may_be_made_when_it_is_asked_for_again(till: Till) -> None:
    till.provider.submits = NotStartedError(failure("QUOTA_EXHAUSTED"))
    assert (await till.fail()).name == "QUOTA_EXHAUSTED"
    call = await till.call()
    assert (call.state, call.reason, call.usd) == (CallState.FAILED, "QUOTA_EXHAUSTED", 0.0)
    till.provider.submits = Ticket("job-2")
    assert stored(await till.buy())
    assert (await till.call()).attempt == 2


@pytest.mark.parametrize(
    "lost", [LostError(SECRET), ValueError(SECRET), TimeoutError()], ids=lambda lost: type(lost).__name__
)
async def test_a_call_whose_answer_was_lost_is_looked_up_once_and_brought_to_its_end(
    till: Till, lost: Exception
) -> None:
    till.provider.submits, till.provider.finds = lost, Ticket("job-1")
    assert stored(await till.buy())
    assert till.provider.called == ["submit", "find", "follow"]
    assert (await till.call()).job == "job-1"


async def test_a_lost_call_that_is_not_there_yet_is_not_made_again_before_its_lease_ends(till: Till) -> None:
    till.provider.submits = LostError()
    assert (await till.fail()).name == "OUTCOME_UNKNOWN"
    assert (await till.call()).state is CallState.UNKNOWN
    assert (await till.fail(seconds=IN_TIME)).name == "DEADLINE_EXCEEDED"
    assert till.provider.called == ["submit", "find"]
    till.provider.submits = Ticket("job-2")
    waiting = asyncio.create_task(till.buy())
    await asyncio.sleep(0.05)
    await till.expire()
    assert stored(await waiting)
    assert till.provider.called == ["submit", "find", "find", "submit", "follow"]
    assert (await till.call()).attempt == 2


async def test_a_lost_call_of_a_provider_that_cannot_be_asked_stays_unknown(till: Till) -> None:
    till.provider.submits, till.provider.finds = LostError(SECRET), CannotTellError()
    for _ in range(3):
        error = await till.fail()
        assert error.name == "OUTCOME_UNKNOWN"
        assert (await till.call()).reference in error.message
    assert till.provider.called.count("submit") == 1
    call = await till.call()
    assert (call.state, call.reason, call.usd) == (CallState.UNKNOWN, "CANNOT_TELL", pytest.approx(0.1))


async def test_a_lost_call_of_a_provider_that_is_away_is_asked_for_later(till: Till) -> None:
    till.provider.submits, till.provider.finds = LostError(), failure("MODEL_UNAVAILABLE")
    assert (await till.fail()).name == "OUTCOME_UNKNOWN"
    assert (await till.call()).reason == "UNREACHABLE"
    till.provider.finds = Ticket("job-1")
    await till.expire()
    assert stored(await till.buy())
    assert till.provider.called.count("submit") == 1


@pytest.mark.parametrize("name", ["MODEL_FAILED", "PROMPT_UNSAFE"])
async def test_a_job_that_failed_there_tells_why(till: Till, name: str) -> None:
    till.provider.follows = [failure(name)]
    assert (await till.fail()).name == name
    call = await till.call()
    assert (call.state, call.reason, call.usd) == (CallState.FAILED, name, USD)


@pytest.mark.parametrize(
    "error",
    [failure("MODEL_UNAVAILABLE"), ValueError(SECRET), LostError(SECRET)],
    ids=["away", "broken", "lost"],
)
async def test_a_job_that_is_lost_from_sight_is_unknown_and_followed_when_it_is_asked_for_again(
    till: Till, error: Exception
) -> None:
    till.provider.follows = [Step(1, 2), error]
    assert (await till.fail()).name == "OUTCOME_UNKNOWN"
    assert (await till.call()).state is CallState.UNKNOWN
    till.provider.follows = list(media(picture()))
    assert stored(await till.buy())
    assert till.provider.called == ["submit", "follow", "follow"]


@pytest.mark.parametrize(
    "rubbish",
    [(), media(b""), media(b"<html>Please log in</html>"), media(picture()[:-40]), media(mp4()[:-40])],
    ids=["nothing", "empty", "a page", "half a picture", "half a video"],
)
@pytest.mark.parametrize("direct", [True, False], ids=["answer", "job"])
async def test_rubbish_is_unknown_and_not_paid_for_again(
    till: Till, rubbish: tuple[Media, ...], direct: bool
) -> None:
    till.provider.submits = Ticket("", rubbish) if direct else Ticket("job-1")
    till.provider.follows = list(rubbish)
    till.provider.finds = CannotTellError()
    assert (await till.fail()).name == "OUTCOME_UNKNOWN"
    call = await till.call()
    assert (call.state, call.reason) == (CallState.UNKNOWN, "RUBBISH")
    await till.expire()
    assert (await till.fail()).name == "OUTCOME_UNKNOWN"
    assert till.provider.called.count("submit") == 1


async def test_what_came_whole_is_kept_when_another_file_is_damaged(till: Till) -> None:
    till.provider.submits = Ticket("", media(picture()[:-40], picture(), b"<html>"))
    (only,) = stored(await till.buy(seeds=(1, 2, 3)))
    assert (only.index, only.seed) == (1, 2)


@pytest.mark.parametrize("told", [0.0, 0.1, float("nan")])
async def test_what_a_job_cost_in_the_end_is_booked_whoever_learns_it(till: Till, told: float) -> None:
    till.provider.follows = [failure("MODEL_UNAVAILABLE")]
    await till.fail()
    till.provider.follows = [Cost(told), failure("PROMPT_UNSAFE")]
    assert (await till.fail()).name == "PROMPT_UNSAFE"
    call = await till.call()
    assert (call.state, call.usd) == (CallState.FAILED, told if told == told else 0.0)
    till.provider.follows = [Cost(told), *media(picture())]
    assert stored(await till.buy())
    assert (await till.call()).usd == (told if told == told else USD)


async def test_a_job_that_ended_well_and_brought_nothing_is_not_paid_for_by_another_backend(
    till: Till,
) -> None:
    till.provider.follows = [LostError(SECRET)]
    assert (await till.fail()).name == "OUTCOME_UNKNOWN"
    call = await till.call()
    assert (call.state, call.reason, call.usd) == (CallState.UNKNOWN, "RUBBISH", USD)
    with pytest.raises(MeshError, match=r"OUTCOME_UNKNOWN: triton/alpha was called"):
        await bought(till.another("beta"), "req-1")


@pytest.mark.parametrize("job", ["", "job\0", "j" * 2000], ids=["none", "nul", "endless"])
async def test_a_job_that_cannot_be_named_is_rubbish(till: Till, job: str) -> None:
    till.provider.submits = Ticket(job)
    assert (await till.fail()).name == "OUTCOME_UNKNOWN"
    call = await till.call()
    assert (call.state, call.reason, call.job) == (CallState.UNKNOWN, "RUBBISH", "")
    assert till.provider.called == ["submit"]


@pytest.mark.parametrize("usd", [-1.0, float("nan"), float("inf")])
async def test_a_cost_that_is_none_is_the_price_lists(till: Till, usd: float) -> None:
    till.provider.submits = Ticket("job-1", usd=usd)
    assert stored(await till.buy())
    assert (await till.call()).usd == pytest.approx(0.1)


async def test_a_job_is_cancelled_when_the_time_is_up_also_where_its_adapter_watches_the_time(
    till: Till,
) -> None:
    async def punctual(_: Ticket, timeout: float) -> AsyncGenerator[Media]:
        await asyncio.sleep(timeout)
        raise failure("DEADLINE_EXCEEDED")
        yield

    till.provider.follow = punctual
    assert (await till.fail(seconds=IN_TIME)).name == "DEADLINE_EXCEEDED"
    assert (await till.until(CallState.FAILED)).reason == "DEADLINE_EXCEEDED"
    assert till.provider.called == ["submit", "cancel"]


async def test_who_leaves_a_job_has_it_cancelled(till: Till) -> None:
    till.provider.gates["follow"] = asyncio.Event()
    caller = asyncio.create_task(till.buy())
    await till.reached("follow")
    caller.cancel()
    call = await till.until(CallState.FAILED)
    assert call.reason == "CANCELLED"
    assert till.provider.called == ["submit", "follow", "cancel"]


@pytest.mark.parametrize("cancels", [False, ValueError(SECRET)], ids=["refused", "broken"])
async def test_a_job_that_nobody_could_cancel_is_stored_later_and_delivered(
    till: Till, cancels: bool | Exception
) -> None:
    till.provider.gates["follow"], till.provider.cancels = asyncio.Event(), cancels
    assert (await till.fail(seconds=IN_TIME)).name == "DEADLINE_EXCEEDED"
    call = await till.until(CallState.UNKNOWN)
    assert (call.reason, call.job, call.held) == ("DEADLINE_EXCEEDED", "job-1", False)
    till.provider.gates["follow"].set()
    await till.backend.resolve()
    assert (await till.call()).state is CallState.SUCCEEDED
    assert stored(await till.buy())
    assert till.provider.called == ["submit", "follow", "cancel", "follow"]


async def test_a_call_that_is_on_its_way_goes_on_when_its_caller_leaves(till: Till) -> None:
    gate = till.provider.gates["submit"] = asyncio.Event()
    till.provider.submits = Ticket("", media(picture()), USD)
    caller = asyncio.create_task(till.buy())
    await till.reached("submit")
    caller.cancel()
    again = asyncio.create_task(till.buy())  # waits for what is under way
    await asyncio.sleep(0.05)
    assert (await till.call()).state is CallState.PENDING
    gate.set()
    assert stored(await again)
    assert till.provider.called == ["submit"]


async def test_a_job_that_was_taken_when_its_caller_had_left_is_cancelled(till: Till) -> None:
    gate = till.provider.gates["submit"] = asyncio.Event()
    assert (await till.fail(seconds=IN_TIME)).name == "DEADLINE_EXCEEDED"
    assert (await till.call()).state is CallState.PENDING
    gate.set()
    call = await till.until(CallState.FAILED)
    assert (call.reason, call.job) == ("DEADLINE_EXCEEDED", "job-1")
    assert till.provider.called == ["submit", "cancel"]


async def test_of_callers_that_ask_at_once_one_pays_and_all_are_served(till: Till) -> None:
    till.backend = PaidBackend(entry(concurrency=8), till.provider, till.ledger, till.blobs)
    got = await asyncio.gather(*(till.buy() for _ in range(8)))
    assert all(stored(events) == stored(got[0]) != [] for events in got)
    assert till.provider.called.count("submit") == 1


async def test_another_backend_delivers_what_was_bought_and_pays_for_nothing_that_is_unknown(
    till: Till,
) -> None:
    events = await till.buy()
    assert await bought(till.another("beta"), "req-1") == events
    till.provider.submits, till.provider.finds = LostError(), CannotTellError()
    await till.fail(request="req-2")
    with pytest.raises(MeshError, match=r"OUTCOME_UNKNOWN: triton/alpha was called"):
        await bought(till.another("beta"), "req-2")


@pytest.mark.parametrize("lost", [False, True], ids=["delivered", "unknown"])
async def test_who_asks_again_is_booked_nothing_and_turns_nobody_against_the_backend(
    till: Till, lost: bool
) -> None:
    if lost:
        till.provider.submits, till.provider.finds = LostError(), CannotTellError()
    till.provider.state = lambda: State.READY
    sold = entry("scripted", **({"name": "openai/scripted"} | PAID))
    fleet = Fleet.of([sold], lambda _: PaidBackend(sold, till.provider, till.ledger, till.blobs))
    await probe(fleet, sold.name, 1)
    diary = Diary()
    execution = Execution(fleet, POLICY, 30, hedging=NEVER, journal=diary)
    for _ in range(breaker.RULES.faults + 1):
        with pytest.raises(MeshError, match="OUTCOME_UNKNOWN") if lost else nullcontext():
            await collect(execution, order())
    assert [(run.outcome, run.usd) for run in diary.runs] == [("OUTCOME_UNKNOWN" if lost else "OK", 0.04)]
    assert fleet.members[sold.name].breaker.stance is breaker.Stance.CLOSED


async def test_tenants_do_not_meet_at_a_request(till: Till) -> None:
    await till.buy()
    with identity.acting_as(identity.Identity("acme")):
        await till.buy()
    assert till.provider.called.count("submit") == 2


async def test_what_a_dead_router_left_is_looked_up_by_the_next_one(till: Till) -> None:
    claims = [
        await till.ledger.open("acme", f"req-{number}", 1, "triton/alpha", (7,), 0.1) for number in range(3)
    ]
    await till.ledger.note_job(claims[0], "job-0", None)
    till.provider.finds = Ticket("job-1")
    async with till.backend:
        await asyncio.sleep(0.05)
        assert till.provider.called == []  # they are held
    await till.expire()
    async with till.backend, asyncio.timeout(ATTENTIVE):
        for number in range(3):
            while (
                call := await till.ledger.newest("acme", f"req-{number}")
            ).state is not CallState.SUCCEEDED:
                await asyncio.sleep(0.01)
            assert call.job == f"job-{min(number, 1)}"
    assert sorted(till.provider.called) == ["find", "find", "follow", "follow", "follow"]


async def test_a_job_that_still_runs_is_left_running_by_who_looks_it_up(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paid, "RESOLVE_SECONDS", 0.05)
    claim = await till.ledger.open("acme", "req-1", 1, "triton/alpha", (7,), 0.1)
    await till.ledger.note_job(claim, "job-1", None)
    await till.expire()
    till.provider.gates["follow"] = asyncio.Event()
    await till.backend.resolve()
    assert till.provider.called == ["follow"]
    assert (await till.ledger.newest("acme", "req-1")).state is CallState.UNKNOWN


async def test_closing_ends_what_can_be_ended_and_leaves_the_rest_to_the_ledger(till: Till) -> None:
    till.provider.gates |= {"follow": asyncio.Event(), "submit": asyncio.Event()}
    callers = [asyncio.create_task(till.fail(request="req-1"))]
    await till.reached("submit")
    till.provider.gates.pop("submit").set()
    await till.reached("follow")
    till.provider.gates["submit"] = asyncio.Event()
    callers.append(asyncio.create_task(till.fail(request="req-2")))
    await till.reached("submit", 2)
    await till.backend.close()
    assert [(await caller).name for caller in callers] == ["CANCELLED", "MODEL_UNAVAILABLE"]
    assert (await till.call("req-1")).state is CallState.FAILED
    assert (await till.call("req-2")).state is CallState.PENDING


async def test_calls_whose_callers_left_are_bounded(till: Till) -> None:
    till.provider.gates["submit"] = asyncio.Event()
    for number in range(paid.LEFT_ALONE):
        caller = asyncio.create_task(till.buy(f"req-{number}"))
        await till.reached("submit", number + 1)
        caller.cancel()
    assert (await till.fail(request="one-more")).name == "OVERLOADED"
    till.provider.gates["submit"].set()
    for number in range(paid.LEFT_ALONE):
        await till.until(CallState.FAILED, f"req-{number}")
    assert stored(await till.buy("one-more"))


async def test_nothing_is_bought_without_the_ledger(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: Database, __: Callable[..., object]) -> None:
        raise failure("DEPENDENCY_UNAVAILABLE")

    monkeypatch.setattr(Database, "write", away)
    assert (await till.fail()).name == "MODEL_UNAVAILABLE"
    assert till.provider.called == []


async def test_a_store_that_is_away_for_a_moment_costs_nothing_and_one_that_stays_away_leaves_the_job(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, tries = BlobStore.put, [failure("DEPENDENCY_UNAVAILABLE")] * 2

    async def flaky(self: BlobStore, data: bytes, **named: Any) -> Any:
        if tries:
            raise tries.pop()
        return await put(self, data, **named)

    monkeypatch.setattr(BlobStore, "put", flaky)
    assert stored(await till.buy())
    tries.extend([failure("DEPENDENCY_UNAVAILABLE")] * 3)
    assert (await till.fail(request="req-2")).name == "OUTCOME_UNKNOWN"
    assert (await till.call("req-2")).reason == "NOT_STORED"
    assert stored(await till.buy("req-2"))
    assert till.provider.called.count("submit") == 2


@pytest.mark.parametrize(
    ("found", "delivered"),
    [
        ("state = 'FAILED', reason = 'CONSOLE', usd = 0", ["submit", "find", "submit", "follow"]),
        ("job = 'job-1', updated_us = 0", ["submit", "find", "follow"]),
    ],
    ids=["no job", "a job"],
)
async def test_what_an_operator_found_in_the_console_settles_what_is_unknown(
    till: Till, found: str, delivered: list[str]
) -> None:
    till.provider.submits, till.provider.finds = LostError(), CannotTellError()
    await till.fail()
    till.provider.submits = Ticket("job-2")
    reference = (await till.call()).reference
    statement = sa.text(f"UPDATE paid_calls SET {found} WHERE reference = '{reference}'")  # as the page says
    await till.database.write(lambda connection: connection.execute(statement))
    await till.backend.resolve()
    assert stored(await till.buy())
    assert till.provider.called == delivered


async def test_what_was_cleared_away_is_not_bought_again(till: Till) -> None:
    (only,) = stored(await till.buy())
    await till.blobs.delete(only.media.sha256)
    assert (await till.fail()).name == "NOT_FOUND"
    assert till.provider.called.count("submit") == 1
