"""open_nsfw and nsfwjs on the real Triton. Only harmless pictures are at hand: true positives stay untested."""

import asyncio
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from skimage import data
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.models.catalogue import get_model
from services.models.convert_onnx import additions
from services.models.optimise import optimise
from services.models.sources import weights_directory
from services.models.tfjs import read_tfjs
from services.models.tfjs_numpy import run_reference
from tests.models.calls import infer
from tests.triton_fixture import BUILD_HOME

MODEL = "nsfw_open_nsfw"
SECOND = "nsfw_nsfwjs"
NEUTRAL, UNSAFE = 2, [1, 3]  # of drawing, hentai, neutral, porn, sexy
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


async def test_nsfwjs_calls_harmless_photographs_neutral(client: InferenceServerClient) -> None:
    shares = (await infer(client, SECOND, image=pictures()))["probabilities"]
    assert shares.shape == (len(HARMLESS), 5)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert (shares[:, UNSAFE].sum(1) < 0.2).all(), dict(zip(HARMLESS, shares.tolist(), strict=True))
    assert (shares.argmax(1) == NEUTRAL).sum() >= 4


async def test_nsfwjs_equals_the_graph_in_the_package(client: InferenceServerClient) -> None:
    source = get_model(SECOND).source
    assert source.kind == "npm"
    graph = read_tfjs(weights_directory(source, BUILD_HOME) / "model.min.js")
    two = pictures()[:2]
    (expected,) = run_reference(graph, {graph.inputs[0]: two.astype(np.float32) / 255}).values()
    served = (await infer(client, SECOND, image=two))["probabilities"]
    np.testing.assert_allclose(served, expected, atol=1e-4)


@pytest.mark.parametrize(("model", "output"), [(MODEL, "probability"), (SECOND, "probabilities")])
async def test_each_caller_gets_their_own_answer(
    client: InferenceServerClient, model: str, output: str
) -> None:
    together = (await infer(client, model, image=pictures()))[output]
    alone = await asyncio.gather(*(infer(client, model, image=image[None]) for image in pictures()))
    np.testing.assert_allclose(np.concatenate([one[output] for one in alone]), together, atol=1e-5)


@pytest.mark.parametrize("model", [MODEL, SECOND])
async def test_another_size_is_refused(client: InferenceServerClient, model: str) -> None:
    with pytest.raises(InferenceServerException, match="224"):
        await infer(client, model, image=np.zeros((1, 64, 64, 3), np.uint8))


def test_a_normalisation_goes_into_the_convolution_before_it(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = {"w": (4, 3, 3, 3), "mean": (1, 4, 1, 1), "scale": (1, 4, 1, 1), "bias": (1, 4, 1, 1)}
    nodes = [
        helper.make_node(*each) for each in (
            ("Conv", ["x", "w"], ["convolved"]),
            ("Sub", ["convolved", "mean"], ["centred"]),
            ("Mul", ["centred", "scale"], ["scaled"]),
            ("Add", ["scaled", "bias"], ["y"]),
        )
    ]  # fmt: skip
    stored = [
        numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, side, side])
            for name, channels, side in (("x", 3, 6), ("y", 4, 4)))  # fmt: skip
    graph = helper.make_graph(nodes, "normalised", [x], [y], stored)
    written = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    optimise(additions(written), tmp_path / "model.onnx")
    assert [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node] == ["Conv"]
    feed = {"x": generator.standard_normal((1, 3, 6, 6)).astype(np.float32)}
    before, after = (
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for each in (written, str(tmp_path / "model.onnx"))
    )
    np.testing.assert_allclose(after, before, atol=1e-5)
