"""Reading and converting ncnn files: the real weights against numpy, and every kind of broken file."""

import struct
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from services.models.architectures.realesrgan import of_layers
from services.models.catalogue import get_model
from services.models.convert_ncnn import run_reference, to_onnx
from services.models.ncnn import Array, Layer, NcnnError, read_ncnn
from services.models.sources import weights_directory
from tests.triton_fixture import BUILD_HOME

FP16 = struct.pack("<I", 0x01306B47)
NAMES = ("realesr-animevideov3-x4", "realesrgan-x4plus-anime", "realesrgan-x4plus")
HEAD = "7767517\n2 2\nInput data 0 1 in\n"


def read(name: str) -> list[Layer]:
    source = get_model("upscale_realesrgan").source
    assert source.kind == "package"
    directory = weights_directory(source, BUILD_HOME)
    return read_ncnn(directory / f"{name}.param", directory / f"{name}.bin")


def run(layers: list[Layer], image: Array) -> Array:
    graph = to_onnx(layers).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image[None]})[0][0], np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_real_weights_convert_to_a_graph_that_equals_numpy(model_repository: Path, name: str) -> None:
    layers, image = read(name), np.random.default_rng(3).random((3, 9, 12), dtype=np.float32)
    served = run(layers, image)
    assert served.shape == (3, 36, 48)
    np.testing.assert_allclose(served, run_reference(layers, image), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_real_weights_give_what_the_published_networks_give_in_pytorch(
    model_repository: Path, name: str
) -> None:
    """The ncnn files say a graph; Real-ESRGAN's own networks, with these weights, are another account of it."""
    layers, image = read(name), np.random.default_rng(3).random((3, 9, 12), dtype=np.float32)
    torch.set_num_threads(1)
    network = of_layers(layers)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image[None]))[0].numpy()
    np.testing.assert_allclose(run(layers, image), expected, atol=1e-4)


def files(directory: Path, param: str, weights: bytes = b"") -> tuple[Path, Path]:
    (directory / "a.param").write_text(param)
    (directory / "a.bin").write_bytes(weights)
    return directory / "a.param", directory / "a.bin"


def test_a_convolution_worked_out_by_hand(tmp_path: Path) -> None:
    """Three channels summed with weights 1, 2, 3 and a bias of 10, then a leaky rectifier of 0.5."""
    line = "Convolution c 1 1 in out 0=1 1=1 4=0 5=1 6=3 9=2 -23310=1,5.000000e-01\n"
    weights = FP16 + np.array([1, 2, 3], np.float16).tobytes() + b"\0\0" + np.float32(-10).tobytes()
    layers = read_ncnn(*files(tmp_path, HEAD + line, weights))
    image = np.array([1, 1, 4], np.float32).reshape(3, 1, 1) * np.array([[1, 0]], np.float32)
    np.testing.assert_allclose(run_reference(layers, image), [[[5, -5]]])


@pytest.mark.parametrize(
    ("param", "weights", "message"),
    [
        ("1234\n1 1\nInput data 0 1 in\n", b"", "begins with '1234'"),
        (HEAD + "Convolution c 1 1 in out 0=1 1=1 5=0 6=3\n", FP16, "6 bytes at 4 are missing"),
        (HEAD + "Convolution c 1 1 in out 0=1 1=1 5=0 6=3\n", b"\1\0\0\0", "tag 0x00000001"),
        (HEAD + "PReLU p 1 1 in out 0=1\n", b"\0" * 8, "4 bytes are left over"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path: Path, param: str, weights: bytes, message: str) -> None:
    with pytest.raises(NcnnError, match=message):
        read_ncnn(*files(tmp_path, param, weights))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Softmax s 1 1 in out\n", "layer type 'Softmax' is not supported"),
        ("Interp i 1 1 in out 0=2 1=2.0 2=2.0\n", "only nearest-neighbour"),
        ("BinaryOp b 2 1 in in out 0=2\n", "operation 2 is not a sum"),
    ],
)
def test_layers_beyond_the_converter_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(NcnnError, match=message):
        to_onnx(read_ncnn(*files(tmp_path, HEAD + line)))
