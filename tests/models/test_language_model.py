"""SmolLM2 on the real Triton, brought into memory by the models server: what it knows, seeds, limits, cancelling."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from scrollintel.visual.v1 import errors_pb2
from services.local.triton import Triton, TritonSettings
from services.models.build import build_repository
from services.models.presence import served_repository
from services.models.service import spec
from services.models.settings import Settings as ModelsSettings
from services.runtime.errors import MeshError
from services.runtime.language_model import LanguageModel, LanguageModelSettings, opened, system, user
from services.runtime.server import serve
from services.runtime.settings import env
from services.runtime.workers import find_workers
from tests.models.calls import cpu_seconds, infer, texts
from tests.triton_fixture import BUILD_HOME

HOME = BUILD_HOME / "language"
MODEL = "language_model"
SECONDS = 60.0


class Settings(LanguageModelSettings):
    model_config = env("prompt")


TALK = {"roles": texts("user")[None], "contents": texts("Name a color.")[None]}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def speaking(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Triton]:
    """A Triton of its own, which loads nothing by itself: the model is no part of what other tests serve."""
    (outcome,) = await asyncio.to_thread(build_repository, HOME, [MODEL])
    assert outcome.served, outcome
    settings = TritonSettings(tmp_path_factory.mktemp("speaking"), served_repository(HOME), ())
    async with Triton(settings) as server:
        await server.wait_ready(SECONDS)
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def model(speaking: Triton, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LanguageModel]:
    """The model as a server has it that is told where the models server is; loaded by the first lease on it."""
    fields = {"home": tmp_path_factory.mktemp("home"), "triton_address": speaking.grpc_address}
    async with serve(spec(ModelsSettings.model_validate(fields | {"home": HOME}))) as models:
        settings = Settings.model_validate(fields | {"models_address": models.address})
        async with opened(settings) as found:
            await found.complete([user("Hello")], most_tokens=1, seconds=SECONDS)
            yield found


async def test_it_answers_what_it_knows(model: LanguageModel) -> None:
    answer = await model.complete(
        [system("You are a helpful assistant."), user("What is the capital of France?")],
        most_tokens=16,
        seconds=SECONDS,
    )
    assert answer.ended
    assert "Paris" in answer.text


async def test_a_seed_decides_what_it_says(model: LanguageModel) -> None:
    said = [
        await model.complete(
            [user("Tell a story.")], most_tokens=8, seconds=SECONDS, seed=seed, temperature=1.0
        )
        for seed in (1, 1, 2)
    ]
    assert said[0] == said[1] != said[2]
    assert not said[0].ended


async def test_it_ends_at_a_stop_text(model: LanguageModel) -> None:
    talk = [user("Tell a story.")]
    whole = await model.complete(talk, most_tokens=12, seconds=SECONDS)
    stop = whole.text[12:16]
    cut = await model.complete(talk, most_tokens=12, seconds=SECONDS, stop=["qqq", stop])
    assert cut.ended
    assert cut.text == whole.text[: whole.text.index(stop)] != whole.text


@pytest.mark.parametrize(
    ("question", "choices", "right"),
    [
        ("Which of these is an animal?", ["hammer", "dog", "table"], 1),
        ("What is the opposite of hot?", ["cold", "red"], 0),
    ],
)
async def test_it_chooses_what_fits(
    model: LanguageModel, question: str, choices: list[str], right: int
) -> None:
    forth = await model.choose([user(question)], choices, seconds=SECONDS)
    back = await model.choose([user(question)], choices[::-1], seconds=SECONDS)
    assert (forth.index, forth.text) == (right, choices[right])
    assert back.text == forth.text
    assert forth.margin == pytest.approx(back.margin, abs=1e-4)
    assert forth.margin is not None
    assert forth.margin > 0


async def test_beside_a_neutral_talk_common_words_win_nothing(model: LanguageModel) -> None:
    """Asked twice about the same, no choice gains: all differences are the same, and the margin is none."""
    talk = [user("Name a color.")]
    plain = await model.choose(talk, ["the", "turquoise"], seconds=SECONDS)
    beside = await model.choose(talk, ["the", "turquoise"], seconds=SECONDS, neutral=talk)
    assert plain.margin is not None
    assert plain.margin > 0.1
    assert beside.margin == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"roles": texts("robot")[None]}, "roles: must be of system, user, assistant"),
        ({"roles": texts("user", "user")[None]}, "roles: must be as many as contents"),
        ({"contents": np.array([[b"\xff"]], np.object_)}, "contents: must be UTF-8"),
        ({"contents": texts("x 1 " * 800)[None]}, "contents: must have at most 1792 tokens"),
        ({"choices": texts("a")[None]}, "choices: must be 2 to 64"),
        ({"choices": texts("a", "")[None]}, "choices: must be 2 to 64, none empty"),
        ({"most_tokens": np.array([[257]], np.int32)}, "most_tokens: must be 1 to 256"),
        ({"temperature": np.array([[np.nan]], np.float32)}, "temperature: must be 0 to 2"),
        ({"seed": np.array([[-1]], np.int64)}, "seed: must be at least 0"),
        ({"stop": texts(*"abcdefghi")[None]}, "stop: must be at most 8"),
    ],
)
async def test_wrong_inputs_name_the_field_and_the_rule(
    speaking: Triton, model: LanguageModel, changed: dict[str, np.ndarray], told: str
) -> None:
    client = InferenceServerClient(speaking.grpc_address)
    with pytest.raises(InferenceServerException, match=told):
        await infer(client, MODEL, **(TALK | changed))
    await client.close()


async def test_it_stops_when_its_caller_leaves(speaking: Triton, model: LanguageModel) -> None:
    """Two long answers are given up; the next is there long before they would have been written."""
    (worker,) = find_workers(int(speaking.settings.pid_file.read_text()))
    left = [
        asyncio.create_task(model.complete([user("Tell a long story.")], most_tokens=256, seconds=SECONDS))
        for _ in range(2)
    ]
    began = cpu_seconds(worker)
    async with asyncio.timeout(SECONDS):
        while cpu_seconds(worker) < began + 0.1:  # until it writes
            await asyncio.sleep(0.05)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    before = cpu_seconds(worker)
    await model.complete([user("Hello")], most_tokens=1, seconds=SECONDS)
    whole = 512 * 0.01  # processor time of both, at the least that a token was seen to take
    assert cpu_seconds(worker) - before < whole


async def test_a_late_answer_is_an_error(model: LanguageModel) -> None:
    with pytest.raises(MeshError) as caught:
        await model.complete([user("Tell a long story.")], most_tokens=256, seconds=0.05)
    assert caught.value.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED
