"""What an adapter of a provider that works by jobs must do, run on each of them against a server of its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache

import pytest
from pydantic import SecretStr

from router.backends.account import Account
from router.backends.polling import Pace
from router.backends.protocol import Job, Step
from router.backends.provider import Cost, LostError, Media, NotStartedError, Provider, Ticket
from router.configuration import ConfigurationError
from router.entries import BackendEntry
from router.providers import load_providers
from router.settings import PROVIDERS_FILE
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from tests.contract.providers.http_server import DROPPED, PAGE, RUBBISH, Answer, HttpServer
from tests.contract.providers.samples import KEY, PROMPT, mp4, png

NOWHERE = "http://127.0.0.1:1"
REFERENCE = "0123-abcd"
PACE = Pace(0.01)
TODAY = date(2026, 11, 23)
BROKEN = [Answer(status=500), Answer(status=503, body=b"nginx"), DROPPED, RUBBISH, PAGE]
# What nobody may read in an error: the key, the prompt, the provider's own words.
SECRETS = (KEY, PROMPT, "nobody shall repeat")


def model(name: str, **changes: object) -> BackendEntry:
    """A model as `providers.yaml` has it, with a price."""
    return _entries()[name].model_copy(update=changes)


@cache
def _entries() -> dict[str, BackendEntry]:
    return {entry.name: entry for entry in load_providers(PROVIDERS_FILE)}


@dataclass(frozen=True)
class Scene:
    """A provider at work and its server; `submit`, `look` and `cancel` are method and path of the calls to it.

    `make(url, key, **changes)` makes another provider, with changes of the entry. `slow` has the server's jobs never
    end, `fail` and `refuse` have them end badly, by the content policy the latter; `forget` makes one unknown.
    """

    server: HttpServer
    provider: Provider
    make: Callable[..., Provider]
    job: Job
    media_type: str
    submit: tuple[str, str]
    look: tuple[str, str]
    cancel: tuple[str, str]
    slow: Callable[[], None]
    fail: Callable[[], None]
    refuse: Callable[[], None]
    forget: Callable[[Ticket], None]

    async def submitted(self, provider: Provider | None = None, timeout: float = 20.0) -> Ticket:
        return await (provider or self.provider).submit(self.job, REFERENCE, timeout)

    async def followed(self, ticket: Ticket, timeout: float = 20.0) -> list[Step | Media]:
        async with aclosing(self.provider.follow(ticket, timeout)) as events:
            return [event async for event in events if not isinstance(event, Cost)]

    @property
    def paid(self) -> int:
        return self.server.count(*self.submit)


async def refusal(call: Awaitable[object]) -> MeshError:
    """What a paid call was refused with, certain to have made no job."""
    with pytest.raises(NotStartedError) as caught:
        await call
    return untold(caught.value.error)


async def lost(call: Awaitable[object]) -> str:
    """What is told of a call of which nobody knows what it made."""
    with pytest.raises(LostError) as caught:
        await call
    assert not [secret for secret in SECRETS if secret in str(caught.value)]
    return str(caught.value)


async def failure(call: Awaitable[object]) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await call
    return untold(caught.value)


def untold(error: MeshError) -> MeshError:
    assert not [secret for secret in SECRETS if secret in f"{error!r} {error.field}"]
    return error


Make = Callable[..., Provider]


@asynccontextmanager
async def making(
    kind: Callable[..., Provider], account: Callable[..., Account[object]], name: str, **common: object
) -> AsyncIterator[Make]:
    """Make providers of one model, each with an account of its own, which is closed in the end."""
    async with AsyncExitStack() as stack:
        accounts: list[Account[object]] = []

        def make(url: str, key: str = KEY, **changes: object) -> Provider:
            accounts.append(account(SecretStr(key), url))
            return kind(model(name, **(common | changes)), accounts[-1], pace=PACE, today=lambda: TODAY)

        yield make
        for one in accounts:
            await stack.enter_async_context(one)


class JobContract:
    """Each adapter's tests are these and its own, over its fixture `scene`."""

    async def test_a_job_is_submitted_once_followed_and_fetched(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        *steps, media = await scene.followed(ticket)
        assert steps == sorted(steps, key=lambda step: step.k)
        assert steps
        assert all(step.n == 100 for step in steps)
        assert media == Media(0, scene.server.file.body, scene.media_type)
        assert scene.paid == 1
        files = [one for one in scene.server.requests if one.path.startswith("/files/")]
        assert files
        assert not any("authorization" in one.headers for one in files)

    async def test_a_job_is_followed_by_its_id_alone(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        other = Ticket(ticket.job)  # as the ledger of another process has it
        assert (await scene.followed(other))[-1].data == scene.server.file.body
        assert scene.paid == 1

    async def test_a_wrong_key_starts_nothing(self, scene: Scene) -> None:
        error = await refusal(scene.submitted(scene.make(scene.server.url, "another")))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
        assert scene.paid == 1

    async def test_a_rate_limit_starts_nothing_and_is_kept(self, scene: Scene) -> None:
        assert scene.provider.state() is State.READY
        scene.server.fault(*scene.submit, Answer.of({}, 429, Retry_After="30"))
        error = await refusal(scene.submitted())
        assert error.reason == errors_pb2.ERROR_REASON_OVERLOADED
        assert error.retry_after == 30
        assert scene.provider.state() is State.UNAVAILABLE
        error = await refusal(scene.submitted())  # one that waited in a queue meanwhile
        assert 0 < (error.retry_after or 0.0) <= 30
        assert scene.paid == 1

    async def test_a_library_that_is_of_no_use_sends_nothing(self, scene: Scene) -> None:
        def broken(*_: object) -> None:
            raise ImportError

        provider = scene.make(scene.server.url)
        provider._account._load = broken
        for _ in range(2):
            error = await refusal(scene.submitted(provider))
            assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
        assert scene.paid == 0

    @pytest.mark.parametrize("body", [b"[" * 50_000, b"[" + b"1," * 100_000 + b"1]"], ids=["deep", "long"])
    async def test_a_refusal_that_nobody_can_read_is_one(self, scene: Scene, body: bytes) -> None:
        scene.server.fault(*scene.submit, Answer(400, body))
        assert (await refusal(scene.submitted())).reason == errors_pb2.ERROR_REASON_FIELD_INVALID

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    async def test_nobody_knows_what_came_of_a_call_that_broke_there(self, scene: Scene, status: int) -> None:
        scene.server.fault(*scene.submit, Answer(status=status, body=b"nginx", media_type="text/html"))
        with pytest.raises(LostError):
            await scene.submitted()
        assert scene.paid == 1

    @pytest.mark.parametrize(
        "answer",
        [
            DROPPED,
            RUBBISH,
            PAGE,
            Answer.of({}),
            Answer.of([1]),
            Answer.of({"id": 5, "request_id": 5}),
            Answer.of({"id": "../x", "request_id": "../x"}),
            Answer(body=b'{"id": "a", "request_id": "a"}' + b" " * 2**23),
        ],
        ids=["dropped", "rubbish", "page", "empty", "list", "number", "path", "endless"],
    )
    async def test_nobody_knows_what_came_of_a_call_without_a_right_answer(
        self, scene: Scene, answer: Answer
    ) -> None:
        scene.server.fault(*scene.submit, answer)
        with pytest.raises(LostError):
            await scene.submitted()
        assert scene.paid == 1

    async def test_nobody_knows_what_came_of_a_call_that_took_too_long(self, scene: Scene) -> None:
        await scene.followed(await scene.submitted())  # the library is there
        scene.server.fault(*scene.submit, Answer(delay=2.0))
        with pytest.raises(LostError):
            await scene.submitted(timeout=0.1)

    async def test_a_server_that_is_away_was_never_reached(self, scene: Scene) -> None:
        away = scene.make(NOWHERE, KEY)
        error = await refusal(scene.submitted(away))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
        error = await failure(anext(away.follow(Ticket("job-1"), 0.1)))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
        assert not await away.cancel(Ticket("job-1"), 0.2)

    async def test_a_refused_request_starts_nothing(self, scene: Scene) -> None:
        scene.server.fault(*scene.submit, Answer.of({"error": "in words nobody shall repeat"}, 400))
        error = await refusal(scene.submitted())
        assert error.reason == errors_pb2.ERROR_REASON_FIELD_INVALID
        assert scene.provider.state() is State.READY

    async def test_looking_outlasts_what_passes(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        scene.server.fault(*scene.look, *BROKEN, Answer.of({}, 429, Retry_After="0.05"))
        assert (await scene.followed(ticket))[-1].data == scene.server.file.body
        assert scene.paid == 1

    async def test_looking_keeps_to_a_rate_limit(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        scene.server.fault(*scene.look, Answer.of({}, 429, Retry_After="0.2"))
        await scene.followed(ticket)
        method, path = scene.look
        first, second, *_ = [
            one.at for one in scene.server.requests if one.method == method and one.path.startswith(path)
        ]
        assert second - first >= 0.2

    async def test_a_provider_that_stays_away_leaves_the_job_open(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        scene.server.fault(*scene.look, *[Answer(status=500)] * 1000)
        error = await failure(scene.followed(ticket, 0.6))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE

    async def test_rubbish_about_a_job_leaves_it_open(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        scene.server.fault(*scene.look, *[PAGE] * 1000)
        error = await failure(scene.followed(ticket, 0.6))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE

    async def test_a_job_that_does_not_end_ends_the_wait(self, scene: Scene) -> None:
        scene.slow()
        ticket = await scene.submitted()
        error = await failure(scene.followed(ticket, 0.15))
        assert error.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED

    async def test_a_job_that_the_provider_has_forgotten_may_have_been_paid_for(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        scene.forget(ticket)
        error = await failure(scene.followed(ticket))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
        assert scene.paid == 1

    async def test_a_failed_job_is_the_models_failure(self, scene: Scene) -> None:
        scene.fail()
        error = await failure(scene.followed(await scene.submitted()))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_FAILED

    async def test_a_job_that_the_content_policy_refuses_is_unsafe(self, scene: Scene) -> None:
        scene.refuse()
        error = await failure(scene.followed(await scene.submitted()))
        assert error.reason == errors_pb2.ERROR_REASON_PROMPT_UNSAFE

    async def test_files_are_fetched_past_the_proxy_of_the_environment(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ticket = await scene.submitted()
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, NOWHERE)
        assert (await scene.followed(ticket))[-1].data == scene.server.file.body

    async def test_a_download_that_breaks_off_is_repeated(self, scene: Scene) -> None:
        whole = scene.server.file.body
        scene.server.fault("GET", "/files/", Answer(body=whole, cut=10))
        assert (await scene.followed(await scene.submitted()))[-1].data == whole

    @pytest.mark.parametrize(
        "file", [PAGE, Answer(status=404), Answer(status=403)], ids=["page", "404", "403"]
    )
    async def test_a_file_that_is_none_was_paid_for(self, scene: Scene, file: Answer) -> None:
        scene.server.fault("GET", "/files/", file)
        assert "made nothing" in await lost(scene.followed(await scene.submitted()))

    async def test_another_kind_of_file_is_not_what_was_asked_for(self, scene: Scene) -> None:
        other = png() if scene.media_type == "video/mp4" else mp4()
        scene.server.fault("GET", "/files/", Answer(body=other, media_type=scene.media_type))
        assert "made nothing" in await lost(scene.followed(await scene.submitted()))

    async def test_a_slow_job_is_cancelled_there(self, scene: Scene) -> None:
        scene.slow()
        ticket = await scene.submitted()
        async with asyncio.timeout(20):
            assert await scene.provider.cancel(ticket, 5)
        assert scene.server.count(*scene.cancel) == 1

    async def test_a_job_that_has_ended_is_not_cancelled(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        await scene.followed(ticket)
        assert not await scene.provider.cancel(ticket, 1)
        assert (await scene.followed(ticket))[-1].data == scene.server.file.body

    async def test_a_cancel_that_is_not_answered_is_not_confirmed(self, scene: Scene) -> None:
        scene.slow()
        ticket = await scene.submitted()
        scene.server.fault(*scene.cancel, *[DROPPED] * 20)
        assert not await scene.provider.cancel(ticket, 0.3)

    async def test_who_stops_following_stops_asking(self, scene: Scene) -> None:
        scene.slow()
        ticket = await scene.submitted()
        follow = asyncio.create_task(scene.followed(ticket))
        await asyncio.sleep(0.1)
        follow.cancel()
        await asyncio.wait([follow])
        async with asyncio.timeout(20):  # a request that was on its way may still arrive
            seen = -1
            while seen != (seen := len(scene.server.requests)):
                await asyncio.sleep(0.5)

    async def test_a_retired_model_is_not_called(self, scene: Scene) -> None:
        assert scene.make(scene.server.url, KEY, retires=TODAY).state() is State.RETIRED

    @pytest.mark.parametrize("url", ["nowhere", "ftp://host", "http://", "://x", "http://host:port"])
    async def test_an_address_that_is_none_is_refused_at_start(self, scene: Scene, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"^VMESH_ROUTER_[A-Z]+_URL: must be"):
            scene.make(url)

    async def test_the_key_is_in_no_log(self, scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        scene.server.fault(*scene.look, *BROKEN)
        ticket = await scene.submitted()
        await scene.followed(ticket)
        await scene.provider.cancel(ticket, 0.3)
        await refusal(scene.submitted(scene.make(scene.server.url, "another")))
        assert caplog.records
        assert KEY not in caplog.text
        assert KEY not in repr(vars(scene.provider))
