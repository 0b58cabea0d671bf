"""The OpenAI adapter over its own library against a server that speaks its HTTP: one call, one job, whatever comes back."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from router.backends.openai import OpenAIAccount, OpenAIProvider
from router.backends.paid import PaidBackend
from router.backends.protocol import Job, Recalled, Source
from router.backends.provider import CannotTellError, LostError, NotStartedError, Provider, Ticket
from router.configuration import ConfigurationError
from router.demand import Tier
from router.ledger import Ledger
from router.providers import load_providers
from router.settings import PROVIDERS_FILE
from router.sizes import Size
from router.snapshot import State
from router.tables import metadata
from scrollintel.visual.v1 import errors_pb2
from services.runtime.blobs import BlobStore
from services.runtime.database import open_database
from services.runtime.errors import MeshError
from tests.contract.providers import samples
from tests.contract.providers.http_server import DROPPED, PAGE, RUBBISH, Answer
from tests.contract.providers.openai_server import (
    EDITS,
    GENERATIONS,
    NO_MONEY,
    UNSAFE,
    WORDS,
    OpenAIServer,
    fields,
    pictures,
    refusal,
)
from tests.contract.providers.samples import KEY, PROMPT, mp4, png

ENTRIES = {entry.model: entry for entry in load_providers(PROVIDERS_FILE)}
TODAY = date(2026, 11, 23)
SQUARE = Size(1024, 1024)
REFERENCE = "mesh-0123456789-1"
MODEL_UNAVAILABLE = errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE


@pytest.fixture
def server():
    with OpenAIServer() as server:
        yield server


@asynccontextmanager
async def opened(
    url: str, model: str = "gpt-image-2", key: str = KEY, today: date = TODAY
) -> AsyncIterator[OpenAIProvider]:
    async with OpenAIAccount(SecretStr(key), f"{url}/v1") as account:
        yield OpenAIProvider(ENTRIES[model], account, today=lambda: today)


@pytest.fixture
async def provider(server):
    async with opened(server.url) as provider:
        yield provider


def job(**changes: object) -> Job:
    return samples.job(**({"size": SQUARE} | changes))


async def bought(provider: Provider, wanted: Job) -> list[bytes]:
    ticket = await provider.submit(wanted, REFERENCE, 10)
    return [media.data async for media in provider.follow(ticket, 10)]


async def refused(provider: Provider, wanted: Job | None = None) -> MeshError:
    with pytest.raises(NotStartedError) as caught:
        await provider.submit(wanted or job(), REFERENCE, 10)
    quiet(str(caught.value), caught.value.error.message)
    return caught.value.error


async def lost(provider: Provider, timeout: float = 10) -> str:
    with pytest.raises(LostError) as caught:
        await provider.submit(job(), REFERENCE, timeout)
    assert caught.value.__cause__ is None  # the library's words stay out of tracebacks
    quiet(str(caught.value))
    return str(caught.value)


def quiet(*texts: str) -> None:
    assert not [text for text in texts if KEY in text or PROMPT in text or WORDS in text]


async def test_pictures_are_bought_with_one_call_in_the_words_of_the_model(server, provider):
    ticket = await provider.submit(job(seeds=(1, 2), tier=Tier.HIGH), REFERENCE, 10)
    assert [media.index async for media in provider.follow(ticket, 10)] == [0, 1]
    assert [(media.data, media.media_type) for media in ticket.media] == [(png(), "image/png")] * 2
    assert ticket.usd == pytest.approx((10 * 5 + 20 * 8 + 1756 * 30) / 1e6)
    request = server.requests[0]
    assert (server.jobs, request.path) == (1, GENERATIONS)
    assert request.headers["idempotency-key"] == REFERENCE
    assert request.json == {
        "model": "gpt-image-2",
        "prompt": PROMPT,
        "n": 2,
        "size": "1024x1024",
        "quality": "high",
        "output_format": "png",
    }


async def test_dall_e_3_is_asked_in_its_own_shape(server):
    async with opened(server.url, "dall-e-3") as provider:
        assert await bought(provider, job(size=Size(1792, 1024), tier=Tier.HIGH)) == [png()]
    assert server.requests[0].json == {
        "model": "dall-e-3",
        "prompt": PROMPT,
        "n": 1,
        "size": "1792x1024",
        "quality": "hd",
        "response_format": "b64_json",
        "style": "vivid",
    }


async def test_a_picture_is_changed_by_an_edit(server, provider):
    source = Source(png(32), "image/png")
    assert await bought(provider, job(source=source, tier=Tier.DRAFT)) == [png()]
    assert (server.jobs, server.requests[0].path) == (1, EDITS)
    assert fields(server.requests[0]) == {
        "model": "gpt-image-2",
        "prompt": PROMPT,
        "n": "1",
        "size": "1024x1024",
        "quality": "low",
        "output_format": "png",
        "image": ("source.png", "image/png", png(32)),
    }


@pytest.mark.parametrize(
    ("answer", "reason", "told"),
    [
        (refusal(400), errors_pb2.ERROR_REASON_FIELD_INVALID, "does not take this request"),
        (refusal(422), errors_pb2.ERROR_REASON_FIELD_INVALID, "does not take this request"),
        (refusal(401, "invalid_api_key"), MODEL_UNAVAILABLE, "look at the key of openai"),
        (refusal(403), MODEL_UNAVAILABLE, "look at the key of openai"),
        (refusal(402), MODEL_UNAVAILABLE, "used up"),
        (NO_MONEY, MODEL_UNAVAILABLE, "used up"),
        (refusal(400, "billing_hard_limit_reached"), MODEL_UNAVAILABLE, "used up"),
        (refusal(404, "model_not_found"), MODEL_UNAVAILABLE, "does not know the model"),
        (refusal(429, "rate_limit_exceeded"), errors_pb2.ERROR_REASON_OVERLOADED, "no more requests"),
        (UNSAFE, errors_pb2.ERROR_REASON_PROMPT_UNSAFE, "content policy of openai"),
        (
            refusal(400, "content_policy_violation"),
            errors_pb2.ERROR_REASON_PROMPT_UNSAFE,
            "content policy of openai",
        ),
        (
            Answer(307, headers={"Location": "https://elsewhere.example/"}),
            MODEL_UNAVAILABLE,
            "sends elsewhere",
        ),
    ],
)
async def test_what_is_refused_made_no_job_and_is_told_in_our_own_words(
    server, provider, answer, reason, told
):
    server.fault("POST", "/", answer)
    error = await refused(provider)
    assert (error.reason, told in error.message) == (reason, True)
    assert server.jobs == 1  # a paid call is sent once


@pytest.mark.parametrize(
    "answer",
    [
        refusal(500),
        refusal(503, retry_after="1"),
        refusal(408),
        refusal(409),
        refusal(500, "moderation_blocked"),
        RUBBISH,
        Answer(body=b'{"data": [' + b"{}," * 20_000 + b"{}]}"),  # long to parse
        PAGE,
        DROPPED,
        Answer(),
        Answer.of({}),
        Answer.of({"data": []}),
        Answer.of({"data": [{"url": "https://files.example/1.png"}]}),
        pictures([None]),
        pictures([b"<html>"]),
        pictures([mp4()]),
        Answer.of({"data": [{"b64_json": "n*t base64"}]}),
        Answer(body=pictures([png()]).body, cut=20),
        Answer(body=b" " * 10_000_000),
    ],
)
async def test_when_nobody_knows_whether_it_made_a_job_it_says_so_and_asks_no_second_time(
    server, provider, answer
):
    server.fault("POST", "/", answer)
    await lost(provider)
    assert server.jobs == 1


async def test_a_slow_answer_is_lost_at_the_deadline(server, provider):
    await bought(provider, job())  # the library is there
    server.fault("POST", "/", Answer(delay=2.0))
    assert "in time" in await lost(provider, timeout=0.2)


async def test_a_call_that_never_left_made_no_job():
    async with opened("http://127.0.0.1:1") as provider:
        assert (await refused(provider)).reason == MODEL_UNAVAILABLE


async def test_an_address_that_is_none_is_refused_at_start():
    with pytest.raises(ConfigurationError, match="VMESH_ROUTER_OPENAI_URL"):
        async with opened("nonsense"):
            pass


async def test_a_prompt_that_is_too_long_is_never_sent(server, provider):
    error = await refused(provider, job(prompt="x" * 32_001))
    assert (error.reason, error.field) == (errors_pb2.ERROR_REASON_FIELD_INVALID, "spec.prompt")
    assert server.jobs == 0


async def test_what_came_whole_is_kept_though_others_did_not(server, provider):
    server.fault("POST", "/", pictures([png(), b"<html>", png(8)], usage={"output_tokens": "many"}))
    ticket = await provider.submit(job(seeds=(1, 2, 3)), REFERENCE, 10)
    assert [(media.index, media.data) for media in ticket.media] == [(0, png()), (2, png(8))]
    assert ticket.usd is None  # it says nothing that could be reckoned with


async def test_it_is_left_alone_for_as_long_as_it_asks(server, provider):
    assert provider.state() is State.READY
    server.fault("POST", "/", refusal(429, "rate_limit_exceeded", retry_after="1"))
    error = await refused(provider)
    assert error.retry_after == pytest.approx(1)
    assert provider.state() is State.UNAVAILABLE
    await asyncio.sleep(1.01)
    assert provider.state() is State.READY


async def test_a_success_that_was_the_last_one_for_now_says_so_too(server, provider):
    answer = pictures([png()])
    limits = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12s"}
    server.fault("POST", "/", Answer(body=answer.body, headers=limits))
    assert await bought(provider, job()) == [png()]
    assert provider.state() is State.UNAVAILABLE


@pytest.mark.parametrize(
    ("model", "key", "state"),
    [
        ("gpt-image-2", KEY, State.READY),
        ("gpt-image-2", "", State.NOT_CONFIGURED),
        ("gpt-image-2.6-flare", KEY, State.NOT_CONFIGURED),  # nobody said what it costs
        ("dall-e-3", KEY, State.RETIRED),
        ("dall-e-3", "", State.RETIRED),
    ],
)
async def test_where_it_stands(model, key, state):
    async with opened("http://127.0.0.1:1", model, key) as provider:
        assert provider.state() is state


async def test_what_it_can_do_is_what_its_entry_says(provider):
    can = provider.capabilities
    assert (can.max_images, can.edits, can.steps, can.seeds, can.negative_prompts) == (
        10,
        True,
        False,
        False,
        False,
    )
    assert can.sizes == ENTRIES["gpt-image-2"].sizes


async def test_models_at_two_addresses_are_each_asked_at_their_own(server):
    with OpenAIServer() as other:
        async with OpenAIAccount(SecretStr(KEY)) as account:
            for one in (server, other):
                entry = ENTRIES["gpt-image-2"].model_copy(update={"address": f"{one.url}/v1"})
                assert await bought(OpenAIProvider(entry, account), job()) == [png()]
        assert (server.jobs, other.jobs) == (1, 1)


async def test_there_is_nothing_to_find_follow_or_cancel_later(provider):
    with pytest.raises(CannotTellError):
        await provider.find(REFERENCE, 1)
    assert await provider.cancel(Ticket(""), 1) is False
    with pytest.raises(LostError, match="does not keep"):
        await anext(aiter(provider.follow(Ticket(""), 1)))


@asynccontextmanager
async def behind_the_ledger(tmp_path: Path, provider: OpenAIProvider) -> AsyncIterator[PaidBackend]:
    blobs = BlobStore.open("", tmp_path)
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    async with (
        open_database(url, "the ledger", metadata) as database,
        PaidBackend(ENTRIES["gpt-image-2"], provider, Ledger(database, "replica"), blobs) as backend,
    ):
        yield backend


async def test_a_request_that_comes_again_gets_what_it_bought_and_openai_sees_one_job(
    server, provider, tmp_path
):
    async with behind_the_ledger(tmp_path, provider) as backend:
        first, again = [[event async for event in backend.execute(job(), 10)] for _ in range(2)]
    assert [(event.index, event.media.media_type, event.media.width) for event in first] == [
        (0, "image/png", 16)
    ]
    assert again == [Recalled(), *first]
    assert server.jobs == 1


async def test_rubbish_that_was_paid_for_is_never_bought_a_second_time(server, provider, tmp_path):
    server.fault("POST", "/", RUBBISH)
    async with behind_the_ledger(tmp_path, provider) as backend:
        for _ in range(2):
            with pytest.raises(MeshError) as caught:
                _ = [event async for event in backend.execute(job(), 10)]
            assert caught.value.reason == errors_pb2.ERROR_REASON_OUTCOME_UNKNOWN
            quiet(caught.value.message)
    assert server.jobs == 1


async def test_neither_key_nor_prompt_is_in_any_log(server, provider):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", "openai", "httpx", "httpx2", "httpcore")}
    root.addHandler(handler)
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.INFO)
        await bought(provider, job())
        server.fault("POST", "/", refusal(401), refusal(500), RUBBISH)
        await refused(provider)
        await lost(provider)
        await lost(provider)
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert stream.getvalue()  # something was logged, so the test can fail
    quiet(stream.getvalue(), repr(provider), repr(vars(provider)), repr(provider._account.__dict__))
