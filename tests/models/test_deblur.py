"""MAXIM on the real Triton: motion blur taken back, any size, seams that do not show; and its converter, op by op."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient

from services.local.triton import Triton
from services.models.convert_tfjs import to_onnx
from services.models.parity import verify
from services.models.tfjs import TfjsError, read_tfjs
from services.models.tfjs_numpy import run_reference
from services.runtime.workers import find_workers
from tests.models.calls import cpu_seconds
from tests.models.pictures import Image, photograph, refused, restore, sized

MODEL = "deblur_maxim"
RECORDED = Path(__file__).with_name("published") / "maxim_deblurring_64.npz"


def motion(image: Image) -> Image:
    """Moved by 15 pixels aslant while the shutter was open."""
    kernel = np.zeros((15, 15), np.float32)
    cv2.line(kernel, (2, 10), (12, 4), (1.0,), 1)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


async def test_motion_is_taken_back_and_no_seam_shows(client: InferenceServerClient) -> None:
    """Two tiles: where they meet the result is as near to the truth as elsewhere."""
    truth, blurred = (part[60:160, 140:340] for part in (photograph(), motion(photograph())))
    sharper = await restore(client, MODEL, np.ascontiguousarray(blurred))
    assert sharper.shape == truth.shape
    assert (
        cv2.PSNR(sharper, np.ascontiguousarray(truth))
        > cv2.PSNR(np.ascontiguousarray(blurred), np.ascontiguousarray(truth)) + 4
    )
    error = np.abs(sharper.astype(int) - truth).mean((0, 2))
    seam = error[84:116].mean()  # the tiles, 128 wide, meet in the middle of 200
    assert seam < 2 * error.mean()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300)])
async def test_any_size(client: InferenceServerClient, height: int, width: int) -> None:
    image = sized(height, width)
    sharper = await restore(client, MODEL, image)
    assert sharper.shape == image.shape
    assert np.abs(sharper.astype(int) - image).mean() < 30


async def test_a_caller_who_goes_away_stops_it_before_the_next_tile(
    client: InferenceServerClient, triton: Triton
) -> None:
    """Over a hundred tiles, minutes of work; the caller goes away during the first."""
    assert triton.pid is not None
    (worker,) = (pid for pid, model in find_workers(triton.pid).items() if model == MODEL)
    before = cpu_seconds(worker)
    call = asyncio.create_task(restore(client, MODEL, np.zeros((1000, 1000, 3), np.uint8)))
    while cpu_seconds(worker) - before < 0.5:
        await asyncio.sleep(0.1)
    call.cancel()
    cancelled = time.monotonic()
    while True:
        seen = cpu_seconds(worker)
        await asyncio.sleep(1)
        if cpu_seconds(worker) - seen < 0.02:
            break
    assert time.monotonic() - cancelled < 100


async def test_too_many_pixels_are_refused(client: InferenceServerClient) -> None:
    words = await refused(client, MODEL, image=np.zeros((1025, 1024, 3), np.uint8))
    assert "image: must have 1 to 1048576 pixels; 1024x1025 given" in words


def test_the_build_was_held_against_numpy(model_repository: Path) -> None:
    (parity,) = verify((model_repository / MODEL).resolve())
    assert parity.component == "deblur"
    assert parity.error < 1e-4


def test_numpy_says_what_tensorflow_says(model_repository: Path) -> None:
    """The reference itself against TensorFlow 2.21's run of the same graph, recorded once."""
    from services.models.catalogue import get_model
    from services.models.sources import weights_directory
    from tests.triton_fixture import BUILD_HOME

    source = get_model(MODEL).source
    assert source.kind == "npm"
    graph = read_tfjs(weights_directory(source, BUILD_HOME) / "model.json")
    image = np.random.default_rng(0).random((1, 64, 64, 3), dtype=np.float32)
    (result,) = run_reference(graph, {graph.inputs[0]: image}).values()
    with np.load(RECORDED) as recorded:
        np.testing.assert_allclose(result, recorded["tensorflow"], atol=1e-4)


Node = dict[str, Any]


def node(op: str, *inputs: str, **attributes: Any) -> Node:
    return {"op": op, "name": f"{op}/result", "input": list(inputs), "attr": attributes}


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def numbers(*values: int) -> dict[str, dict[str, list[str]]]:
    return {"list": {"i": [str(value) for value in values]}}


def write(directory: Path, last: Node, *others: Node, **constants: NDArray[Any]) -> Path:
    """A graph model with input `x` whose output is the last node."""
    placeholder = {"op": "Placeholder", "name": "x", "attr": {}}
    weights = [
        {"name": name, "shape": list(value.shape), "dtype": value.dtype.name}
        for name, value in constants.items()
    ]
    document = {
        "modelTopology": {"node": [last, *others, placeholder]},  # out of order, as the real file is
        "signature": {"inputs": {"x": {"name": "x:0"}}, "outputs": {"y": {"name": f"{last['name']}:0"}}},
        "weightsManifest": [{"paths": ["group1-shard1of1.bin"], "weights": weights}],
    }
    (directory / "model.json").write_text(json.dumps(document))
    data = b"".join(value.tobytes() for value in constants.values())
    (directory / "group1-shard1of1.bin").write_bytes(data)
    return directory / "model.json"


CONVOLUTION = {
    "strides": numbers(1, 2, 2, 1),
    "dilations": numbers(1, 1, 1, 1),
    "padding": text("SAME"),
    "data_format": text("NHWC"),
}


def kernel(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def fused(op: str, *what: str, **attributes: Any) -> Node:
    ops = {"list": {"s": [text(each)["s"] for each in what]}}
    return node(op, "x", "w", "b", fused_ops=ops, **(attributes or CONVOLUTION))


@pytest.mark.parametrize(
    ("last", "constants"),
    [
        (node("Conv2D", "x", "w", **CONVOLUTION), {"w": kernel(3, 3, 3, 5)}),
        (node("Conv2D", "x", "w", **CONVOLUTION), {"w": kernel(4, 4, 3, 2)}),
        (
            node("Conv2D", "x", "w", **CONVOLUTION | {"strides": numbers(1, 1, 1, 1)}),
            {"w": kernel(1, 1, 3, 2)},
        ),
        (
            node("Conv2DBackpropInput", "size", "w", "x", **CONVOLUTION | {"padding": text("VALID")}),
            {"size": np.array([1, 16, 12, 4], np.int32), "w": kernel(2, 2, 4, 3)},
        ),
        (node("Einsum", "x", "w", equation=text("abcg,gf->abcf")), {"w": kernel(3, 4)}),
        (node("Einsum", "x", "w", equation=text("abgd,gf->abdf")), {"w": kernel(6, 4)}),
        (node("Einsum", "w", "x", equation=text("gb,cgef->bcef")), {"w": kernel(8, 2)}),
        (node("Sum", "x", "axes", keep_dims={"b": False}), {"axes": np.array([1, 2], np.int32)}),
        (node("Transpose", "x", "order"), {"order": np.array([0, 2, 1, 3], np.int32)}),
        (
            node("StridedSlice", "x", "a", "b", "c"),
            {
                "a": np.array([0, 1, 0, 0], np.int32),
                "b": np.array([1, 7, 6, 2], np.int32),
                "c": np.array([1, 2, 1, 1], np.int32),
            },
        ),
        (node("Rsqrt", "x"), {}),
        (node("SelectV2", "GreaterEqual/result", "x", "w"), {"w": np.array(0.5, np.float32)}),
        (fused("_FusedConv2D", "BiasAdd", "Relu6"), {"w": 4 * kernel(3, 3, 3, 5), "b": kernel(5)}),
        (fused("_FusedConv2D", "BiasAdd"), {"w": kernel(1, 1, 3, 2), "b": kernel(2)}),
        (
            fused("FusedDepthwiseConv2dNative", "BiasAdd", "Relu6"),
            {"w": 4 * kernel(3, 3, 3, 2), "b": kernel(6)},
        ),
        (
            fused("_FusedMatMul", "BiasAdd", transpose_a={"b": False}, transpose_b={"b": False}),
            {"w": kernel(3, 4), "b": kernel(4)},
        ),
        (
            node("AvgPool", "x", **CONVOLUTION | {"ksize": numbers(1, 3, 2, 1), "padding": text("VALID")}),
            {},
        ),
        (node("Softmax", "x"), {}),
    ],
)
def test_operations_mean_in_onnx_what_they_mean_in_numpy(
    tmp_path: Path, last: Node, constants: dict[str, NDArray[Any]]
) -> None:
    others = [node("GreaterEqual", "x", "w")] if last["op"] == "SelectV2" else []
    source = read_tfjs(write(tmp_path, last, *others, **constants))
    image = np.random.default_rng(0).random((1, 8, 6, 3), dtype=np.float32)
    ((name, expected),) = run_reference(source, {"x": image}).items()
    made = to_onnx(source, image.shape)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run([name], {"x": image})[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("last", "constants", "message"),
    [
        (node("LogSoftmax", "x"), {}, "operation 'LogSoftmax' is not supported; known: Add"),
        (node("Neg", "y"), {}, "y: is used, and neither"),
        (node("Transpose", "x", "Neg/result"), {}, r"input 1, Neg/result, must be a constant"),
        (
            node("Conv2DBackpropInput", "w", "w", "x", **CONVOLUTION),
            {"w": kernel(3, 3, 4, 3)},
            r"kernel \(3, 3\) must equal the stride",
        ),
        (
            node("Conv2D", "x", "w", **CONVOLUTION | {"dilations": numbers(1, 2, 2, 1)}),
            {"w": kernel(3, 3, 3, 1)},
            "are not supported",
        ),
        (node("Neg", "w"), {"w": np.zeros(3, np.float64)}, "only plain float32, int32, bool constants"),
        (
            fused("_FusedConv2D", "BiasAdd", "Elu"),
            {"w": kernel(3, 3, 3, 1), "b": kernel(1)},
            r"fusing \('BiasAdd', 'Elu'\) is not supported",
        ),
    ],
)
def test_what_the_converter_does_not_know_is_named(
    tmp_path: Path, last: Node, constants: dict[str, NDArray[Any]], message: str
) -> None:
    others = [] if last["op"] == "Neg" else [node("Neg", "x")]
    with pytest.raises(TfjsError, match=message):
        to_onnx(read_tfjs(write(tmp_path, last, *others, **constants)), (1, 8, 6, 3))


def test_a_graph_for_any_number_of_images(tmp_path: Path) -> None:
    source = read_tfjs(write(tmp_path, node("Softmax", "x")))
    made = to_onnx(source, (2, 8, 6, 3), batches=True)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        image = np.random.default_rng(0).random((count, 8, 6, 3), dtype=np.float32)
        (expected,) = run_reference(source, {"x": image}).values()
        np.testing.assert_allclose(session.run(None, {"x": image})[0], expected, atol=1e-6)


def test_branches_that_meet_again_and_again_are_no_cycle(tmp_path: Path) -> None:
    def add(index: int, *inputs: str) -> Node:
        return node("AddV2", *inputs) | {"name": f"add{index}"}

    chain = [add(index, f"add{index - 1}", f"add{index - 1}") for index in range(1, 12)]
    source = read_tfjs(write(tmp_path, chain[-1], *chain[:-1], add(0, "x", "x")))
    (result,) = run_reference(source, {"x": np.ones((1, 1, 1, 1), np.float32)}).values()
    assert result.item() == 2**12
    with pytest.raises(TfjsError, match="takes part in a cycle"):
        read_tfjs(write(tmp_path, chain[-1], *chain[:-1], add(0, "x", "add5")))


def test_a_shard_cut_short_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, node("AddV2", "x", "w"), w=kernel(3))
    shard = tmp_path / "group1-shard1of1.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(TfjsError, match="w: the shards end at byte 11"):
        read_tfjs(path)
    shard.write_bytes(bytes(16))
    with pytest.raises(TfjsError, match="4 bytes are left over"):
        read_tfjs(path)
    path.write_text("{}")
    with pytest.raises(TfjsError, match=r"not a TensorFlow\.js graph model"):
        read_tfjs(path)
