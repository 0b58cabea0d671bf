"""Graphs as ONNX Runtime would run them, written once when a model is built."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}

Feed = dict[str, NDArray[np.generic]]


def optimise(graph: bytes, destination: Path) -> None:
    """Write the graph as ONNX Runtime would run it, so that serving starts without that work.

    EXTENDED stops short of layouts for this very processor: those are chosen again where it is loaded.
    """
    _session(graph, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, save_to=str(destination))


def run_as_written(graph: bytes) -> tuple[Feed, Feed]:
    """Run a graph on `random_feed` without optimising anything; returns what went in and what came out."""
    session = _session(graph, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    feed, names = random_feed(session), [output.name for output in session.get_outputs()]
    return feed, dict(zip(names, session.run(names, feed), strict=True))


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


def _session(
    graph: bytes, level: onnxruntime.GraphOptimizationLevel, save_to: str = ""
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    if save_to:
        options.optimized_model_filepath = save_to
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
