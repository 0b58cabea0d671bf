"""The language model's client against an endpoint that speaks OpenAI's HTTP, well and badly."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from services.prompt.settings import Settings
from services.runtime import deadline
from services.runtime.errors import MeshError
from services.runtime.language_model import Completion, assistant, opened, system, user
from services.runtime.language_model.endpoint import MOST_BYTES, Endpoint
from tests.contract.chat_server import CHAT, KEY, ChatServer, said
from tests.contract.providers.http_server import DROPPED, PAGE, RUBBISH, Answer

SECONDS = 20.0
SECRET = "words of a prompt that nobody may repeat"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer("blue") as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def model(server: ChatServer) -> AsyncIterator[Endpoint]:
    async with Endpoint(server.url + "/v1/", "small-talker", KEY) as found:
        yield found


async def test_a_talk_goes_out_as_it_is_documented(server: ChatServer, model: Endpoint) -> None:
    answer = await model.complete(
        [system("be brief"), user("hello"), assistant("hi"), user("a color?")],
        most_tokens=7,
        seconds=SECONDS,
        seed=5,
        temperature=0.5,
        stop=["\n"],
    )
    assert answer == Completion("blue", ended=True)
    assert server.asked == {
        "model": "small-talker",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "a color?"},
        ],
        "max_tokens": 7,
        "temperature": 0.5,
        "seed": 5,
        "stop": ["\n"],
    }


async def test_an_answer_that_was_cut_off_says_so(server: ChatServer, model: Endpoint) -> None:
    server.fault("POST", CHAT, said("blue and", reason="length"))
    assert not (await model.complete([user("?")], most_tokens=2, seconds=SECONDS)).ended


async def test_a_choice_is_asked_for_by_number(server: ChatServer, model: Endpoint) -> None:
    server.text = "2."
    choice = await model.choose([user("fits?")], ["red", "blue"], seconds=SECONDS)
    assert (choice.index, choice.text, choice.margin) == (1, "blue", None)
    assert "1. red\n2. blue" in server.asked["messages"][-1]["content"]


@pytest.mark.parametrize("text", ["3", "0", "blue", "", "-1", "1 or 2", "²", "9" * 5000])
async def test_a_choice_that_is_none_is_an_error(server: ChatServer, model: Endpoint, text: str) -> None:
    server.text = text
    with pytest.raises(MeshError) as caught:
        await model.choose([user("fits?")], ["red", "blue"], seconds=SECONDS)
    assert caught.value.reason == errors_pb2.ERROR_REASON_MODEL_FAILED


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (RUBBISH, errors_pb2.ERROR_REASON_MODEL_FAILED),
        (PAGE, errors_pb2.ERROR_REASON_MODEL_FAILED),
        (Answer.of({"choices": []}), errors_pb2.ERROR_REASON_MODEL_FAILED),
        (Answer.of([]), errors_pb2.ERROR_REASON_MODEL_FAILED),
        (said(None), errors_pb2.ERROR_REASON_MODEL_FAILED),
        (said({"a": 1}), errors_pb2.ERROR_REASON_MODEL_FAILED),
        (Answer(body=b" " * (MOST_BYTES + 1)), errors_pb2.ERROR_REASON_MODEL_FAILED),
        (Answer(body=b"[" * 200_000), errors_pb2.ERROR_REASON_MODEL_FAILED),
        (Answer.of({"error": SECRET}, 400), errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE),
        (
            Answer.of({"error": SECRET}, 302, location="http://127.0.0.1:9/"),
            errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
        ),
        (Answer.of({"error": SECRET}, 429), errors_pb2.ERROR_REASON_OVERLOADED),
        (Answer.of({"error": SECRET}, 503), errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE),
        (DROPPED, errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE),
        (Answer(body=b"[1, 2]", cut=3), errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE),
    ],
)
async def test_what_goes_wrong_is_an_error_in_the_meshs_own_words(
    server: ChatServer, model: Endpoint, fault: Answer, reason: ErrorReason.ValueType
) -> None:
    server.fault("POST", CHAT, fault)
    with pytest.raises(MeshError) as caught:
        await model.complete([user(SECRET)], most_tokens=2, seconds=SECONDS)
    assert caught.value.reason == reason
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)


async def test_a_wrong_key_is_for_the_operator_and_is_not_told(server: ChatServer) -> None:
    async with Endpoint(server.url + "/v1", "small-talker", "sk-wrong") as model:
        with pytest.raises(MeshError, match="HTTP 401") as caught:
            await model.complete([user("?")], most_tokens=2, seconds=SECONDS)
    assert "sk-wrong" not in str(caught.value)


async def test_a_key_with_a_line_break_behind_it_is_sent_without(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMESH_LANGUAGE_MODEL_URL", server.url + "/v1")
    monkeypatch.setenv("VMESH_LANGUAGE_MODEL_API_KEY", KEY + "\n")
    async with opened(Settings(assets_address="127.0.0.1:1", triton_address="127.0.0.1:1")) as model:
        assert (await model.complete([user("?")], most_tokens=2, seconds=SECONDS)).text == "blue"


async def test_nobody_there_is_an_error() -> None:
    async with Endpoint("http://127.0.0.1:9/v1", "small-talker", "") as model:
        with pytest.raises(MeshError) as caught:
            await model.complete([user("?")], most_tokens=2, seconds=SECONDS)
    assert caught.value.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE


@pytest.mark.parametrize("own", [True, False])
async def test_a_late_answer_is_not_waited_for(server: ChatServer, model: Endpoint, own: bool) -> None:
    """Neither longer than the call was given nor longer than the caller has."""
    server.fault("POST", CHAT, Answer(delay=30))
    began = time.monotonic()
    with pytest.raises(MeshError) as caught, deadline.until(None if own else 0.3):
        await model.complete([user("?")], most_tokens=2, seconds=0.3 if own else SECONDS)
    assert caught.value.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED
    assert time.monotonic() - began < 20
