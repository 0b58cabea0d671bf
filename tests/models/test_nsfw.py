"""open_nsfw on the real Triton. Only harmless pictures are at hand: true positives stay untested."""

import asyncio

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from skimage import data
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.models.catalogue import get_model
from services.models.sources import weights_directory
from tests.models.calls import infer
from tests.triton_fixture import BUILD_HOME

MODEL = "nsfw_open_nsfw"
HARMLESS = ("astronaut", "chelsea", "coffee", "rocket", "cat", "retina")


def pictures() -> NDArray[np.uint8]:
    loaded = [
        cv2.resize(getattr(data, name)(), (224, 224), interpolation=cv2.INTER_AREA) for name in HARMLESS
    ]
    return np.asarray(loaded, np.uint8)


async def test_harmless_pictures_score_low(client: InferenceServerClient) -> None:
    probability = (await infer(client, MODEL, image=pictures()))["probability"]
    assert probability.shape == (len(HARMLESS), 1)
    assert ((probability >= 0) & (probability < 0.2)).all(), dict(
        zip(HARMLESS, probability[:, 0], strict=True)
    )


async def test_equals_the_graph_in_the_wheel(client: InferenceServerClient) -> None:
    """The reference reads BGR with the training mean taken off: the served model does that itself."""
    source = get_model(MODEL).source
    assert source.kind == "package"
    graph = weights_directory(source, BUILD_HOME) / "open_nsfw.onnx"
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    feed = pictures()[..., ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
    expected = session.run(None, {session.get_inputs()[0].name: feed})[0][:, 1]
    served = (await infer(client, MODEL, image=pictures()))["probability"][:, 0]
    np.testing.assert_allclose(served, expected, atol=1e-4)


async def test_each_caller_gets_their_own_answer(client: InferenceServerClient) -> None:
    together = (await infer(client, MODEL, image=pictures()))["probability"]
    alone = await asyncio.gather(*(infer(client, MODEL, image=image[None]) for image in pictures()))
    np.testing.assert_allclose(np.concatenate([one["probability"] for one in alone]), together, atol=1e-5)


async def test_another_size_is_refused(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="224"):
        await infer(client, MODEL, image=np.zeros((1, 64, 64, 3), np.uint8))
