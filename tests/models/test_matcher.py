"""The image-text matcher on the real Triton."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.models.calls import draw, infer, texts

MODEL = "image_text_matcher"


async def text_vectors(client: InferenceServerClient, *prompts: str) -> NDArray[Any]:
    embedding = (await infer(client, "text_embedding", text=texts(*prompts)[:, None]))["embedding"]
    return (await infer(client, MODEL, text_embedding=embedding))["text"]


def large(image: NDArray[Any]) -> NDArray[Any]:
    return image.repeat(2, 0).repeat(2, 1)


async def test_both_sides_are_unit_vectors_of_one_space(client: InferenceServerClient) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)
    pictures = await infer(client, MODEL, image=image)
    assert set(pictures) == {"embedding"}
    words = await text_vectors(client, "a cat", "a dog")
    assert pictures["embedding"].shape[1] == words.shape[1]
    for vectors in (pictures["embedding"], words):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


async def test_a_picture_is_nearer_to_its_own_prompt(client: InferenceServerClient) -> None:
    prompts = ["red heart", "green heart", "a police car", "a yellow star"]
    drawn = await asyncio.gather(*(draw(client, prompt, [0, 1], steps=12) for prompt in prompts))
    images = np.stack([large(image) for steps in drawn for image in steps[-1].images])
    pictures = (await infer(client, MODEL, image=images))["embedding"]
    cosine = pictures @ (await text_vectors(client, *prompts)).T
    own = cosine.reshape(len(prompts), 2, -1).argmax(-1) == np.arange(len(prompts))[:, None]
    assert own.mean() > 0.6


async def test_calls_at_once_each_get_their_own_answer(client: InferenceServerClient) -> None:
    image = np.random.default_rng(1).integers(0, 256, (6, 128, 128, 3), np.uint8)
    together = (await infer(client, MODEL, image=image))["embedding"]
    both = [infer(client, MODEL, image=one[None]) for one in image]
    answers: list[Any] = await asyncio.gather(*both, text_vectors(client, "a cat"))
    *alone, words = answers
    np.testing.assert_allclose(np.concatenate([one["embedding"] for one in alone]), together, atol=1e-4)
    assert words.shape == (1, together.shape[1])


async def test_neither_input_is_refused(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException):
        await infer(client, MODEL)


def test_the_calibration_is_served_beside_the_weights(model_repository: Path) -> None:
    calibration = json.loads((model_repository / MODEL / "1" / "calibration.json").read_text())
    assert calibration["slope"] > 0
