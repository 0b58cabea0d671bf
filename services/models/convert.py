"""Source files -> the ONNX graphs a model serves, optimised once here and checked against a reference.

Imports onnx and ONNX Runtime, so import this only when something has to be built.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from services.models import convert_minilm, convert_ncnn
from services.models.catalogue import Converter, Model
from services.models.ncnn import read_ncnn

TOLERANCE = 1e-3
SAMPLE_TOKENS = [[101, 1037, 2417, 6207, 102, 0, 0], [101, 1996, 4248, 2829, 4419, 1012, 102]]
SAMPLE_IMAGE = (3, 13, 10)
NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}

Feed = dict[str, NDArray[np.generic]]


class ConversionError(Exception):
    """A converted graph does not reproduce its reference; it was not kept."""


def convert(model: Model, sources: Path, destination: Path) -> None:
    """Write the model's graphs and other files from `sources` into `destination`.

    Raises ConversionError, or NcnnError and SafetensorsError when the sources are not what they should be.
    """
    CONVERTERS[model.converter](model, sources, destination)


def _convert_onnx(model: Model, sources: Path, destination: Path) -> None:
    renamed = {source: built for built, source in model.outputs.items()}
    for file in model.source.files:
        source = sources / Path(file.path).name
        if source.suffix != ".onnx":
            shutil.copyfile(source, destination / source.name)
            continue
        built = destination / f"{renamed.get(source.stem, source.stem)}.onnx"
        optimise(source.read_bytes(), built)
        plain = _session(source.read_bytes(), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
        feed = random_feed(plain)
        _compare(built, feed, plain.run(None, feed)[0])


def _convert_minilm(model: Model, sources: Path, destination: Path) -> None:
    weights = convert_minilm.read_safetensors(sources / "model.safetensors")
    built = destination / "model.onnx"
    optimise(convert_minilm.convert(weights).SerializeToString(), built)
    shutil.copyfile(sources / "tokenizer.json", destination / "tokenizer.json")
    ids = np.array(SAMPLE_TOKENS, np.int64)
    mask = (ids != 0).astype(np.int64)
    _compare(built, {"ids": ids, "mask": mask}, convert_minilm.run_reference(weights, ids, mask))


def _convert_ncnn(model: Model, sources: Path, destination: Path) -> None:
    for name, stem in model.outputs.items():
        layers = read_ncnn(sources / f"{stem}.param", sources / f"{stem}.bin")
        built = destination / f"{name}.onnx"
        optimise(convert_ncnn.convert(layers).SerializeToString(), built)
        image = np.random.default_rng(0).random(SAMPLE_IMAGE, dtype=np.float32)
        _compare(built, {"image": image[None]}, convert_ncnn.run_reference(layers, image)[None])


CONVERTERS: dict[Converter, Callable[[Model, Path, Path], None]] = {
    Converter.ONNX: _convert_onnx,
    Converter.MINILM: _convert_minilm,
    Converter.NCNN: _convert_ncnn,
}


def _session(
    graph: bytes | str, level: onnxruntime.GraphOptimizationLevel, save_to: str = ""
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    if save_to:
        options.optimized_model_filepath = save_to
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def optimise(graph: bytes, destination: Path) -> None:
    """Write the graph as ONNX Runtime would run it, so that serving starts without that work.

    EXTENDED stops short of layouts for this very processor: those are chosen again where it is loaded.
    """
    _session(graph, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, save_to=str(destination))


def random_feed(session: onnxruntime.InferenceSession) -> Feed:
    """Repeatable random inputs of the graph's shapes; free axes are 2 long."""
    generator, feed = np.random.default_rng(0), Feed()
    for tensor in session.get_inputs():
        shape = [axis if isinstance(axis, int) else 2 for axis in tensor.shape]
        dtype = NUMPY_TYPES[tensor.type]
        whole = np.issubdtype(dtype, np.integer)
        feed[tensor.name] = (generator.integers(0, 256, shape) if whole else generator.random(shape)).astype(
            dtype
        )
    return feed


def _compare(built: Path, feed: Feed, expected: NDArray[np.generic]) -> None:
    session = _session(str(built), onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    difference = float(np.abs(session.run(None, feed)[0] - expected).max())
    if not difference <= TOLERANCE:
        built.unlink()
        raise ConversionError(
            f"{built.name}: differs from its reference by {difference:.2e}, more than {TOLERANCE:.0e} "
            f"(onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__})"
        )
