"""The text model on the real Triton: what embeddings must be like, batching, limits."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.models import convert_minilm
from services.models.catalogue import get_model
from services.models.sources import weights_directory
from tests.models.calls import infer, texts
from tests.triton_fixture import BUILD_HOME

MODEL = "text_embedding"


async def embed(client: InferenceServerClient, *given: str) -> dict[str, NDArray[Any]]:
    return await infer(client, MODEL, text=texts(*given)[:, None])


async def test_shapes_and_norm(client: InferenceServerClient) -> None:
    outputs = await embed(client, "a cat", "", "x " * 400)
    assert outputs["embedding"].shape == (3, 384)
    assert outputs["token_states"].shape == (3, 12, 384)
    assert outputs["pooled"].shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, atol=1e-6)


async def test_paraphrases_are_nearer_than_strangers(client: InferenceServerClient) -> None:
    pairs = [
        ("How old are you?", "What is your age?"),
        ("a picture of a small dog", "a photo of a puppy"),
        ("the meeting was put off until Friday", "they postponed the meeting to Friday"),
        ("the car would not start", "the automobile's engine failed to turn over"),
    ]
    left = (await embed(client, *(pair[0] for pair in pairs)))["embedding"]
    right = (await embed(client, *(pair[1] for pair in pairs)))["embedding"]
    cosine = left @ right.T
    strangers = cosine[~np.eye(len(pairs), dtype=bool)]
    assert cosine.diagonal().min() > 0.5 > strangers.max() + 0.1


async def test_token_states_are_those_of_the_text_cut_to_twelve_tokens(client: InferenceServerClient) -> None:
    """Padding is zero and `pooled` is the mean of what is not; a long text keeps eleven tokens and a separator."""
    short, long = "a cat", "one two three four five six seven eight nine ten eleven twelve thirteen"
    cut = "one two three four five six seven eight nine ten"
    outputs = await embed(client, short, long, cut)
    states, pooled = outputs["token_states"], outputs["pooled"]
    assert np.abs(states[0, :4]).min(axis=1).all()
    assert not states[0, 4:].any()
    np.testing.assert_allclose(pooled[0], states[0, :4].mean(0), atol=1e-6)
    np.testing.assert_array_equal(states[1], states[2])
    np.testing.assert_allclose(pooled[1], states[1].mean(0), atol=1e-6)
    assert outputs["embedding"][1] @ outputs["embedding"][2] < 0.999


async def test_an_embedding_does_not_depend_on_its_batch(client: InferenceServerClient) -> None:
    mixed = ["a cat", "word " * 30, "word " * 100, "a dog in a hat", "word " * 250, ""]
    batch = await embed(client, *mixed)
    alone = await asyncio.gather(*(embed(client, text) for text in mixed))
    for row, one in enumerate(alone):
        for name, values in one.items():
            np.testing.assert_array_equal(batch[name][row], values[0])


async def test_equals_the_forward_pass_written_out(client: InferenceServerClient) -> None:
    source = get_model(MODEL).source
    assert source.kind == "package"
    weights: Path = weights_directory(source, BUILD_HOME)
    tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
    tokenizer.no_padding()
    text = "A glass teapot, half full, on a windowsill in the morning light."
    ids = np.array([tokenizer.encode(text).ids])
    loaded = convert_minilm.read_safetensors(weights / "model.safetensors")
    mean = convert_minilm.run_reference(loaded, ids, np.ones_like(ids))[0].mean(0)
    served = (await embed(client, text))["embedding"][0]
    np.testing.assert_allclose(served, mean / np.linalg.norm(mean), atol=1e-5)


async def test_text_that_is_not_utf8_is_refused_and_its_neighbours_are_not(
    client: InferenceServerClient,
) -> None:
    broken = infer(client, MODEL, text=np.array([[b"\xff\xfe"]], np.object_))
    fine = infer(client, MODEL, text=texts("a cat")[:, None])
    answers: list[Any] = await asyncio.gather(broken, fine, return_exceptions=True)
    refused, answered = answers
    assert isinstance(refused, InferenceServerException)
    assert refused.status() == str(grpc.StatusCode.INVALID_ARGUMENT)
    assert "text: must be UTF-8" in refused.message()
    assert isinstance(answered, dict)


async def test_calls_at_once_share_a_run(client: InferenceServerClient) -> None:
    async def counts() -> tuple[int, int]:
        stats = (await client.get_inference_statistics(MODEL, as_json=True))["model_stats"][0]
        return int(stats["inference_count"]), int(stats["execution_count"])

    inferences, executions = await counts()
    await asyncio.gather(*(embed(client, f"text {index}") for index in range(40)))
    after = await counts()
    assert after[0] - inferences == 40
    assert after[1] - executions < 40


@pytest.mark.parametrize("length", [65, 200])
async def test_too_large_a_batch_is_refused(client: InferenceServerClient, length: int) -> None:
    with pytest.raises(InferenceServerException, match="64"):
        await embed(client, *["a"] * length)
