"""Picture classifiers that operators bring: a graph, and what its publisher writes beside it.

The three files are those of a transformers image classifier that `optimum-cli export onnx` has exported: `model.onnx`
(pixel_values [B,3,S,S] -> logits [B,N]), `config.json` (`id2label`, `problem_type`) and `preprocessor_config.json` (side,
mean and deviation). What serving needs of the last two becomes `classifier.json`.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from services.models import parity
from services.models.converters import Report
from services.models.entry import Model, RandomSource
from services.models.onnx_graph import Graph
from services.models.operator_weights import WeightsError
from services.models.optimise import optimise

COMPONENT = "model"
GRAPH, CONFIGURATION, PREPARATION, TOLD = (
    "model.onnx",
    "config.json",
    "preprocessor_config.json",
    "classifier.json",
)
REFERENCE = f"ONNX Runtime {onnxruntime.__version__}, not optimised"
LOGITS = "logits"
LARGEST_SIDE = 1024
RANDOM_LABELS = ("harmless", "violence", "gore")
RANDOM_SIDE = 32


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write `model.onnx` and `classifier.json`. Raises WeightsError naming the file and the rule, and ParityError."""
    if isinstance(model.source, RandomSource):
        with tempfile.TemporaryDirectory() as drawn:
            _draw(Path(drawn), model.source.seed)
            _convert(model, Path(drawn), destination, report)
    else:
        _convert(model, sources, destination, report)


def _convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    told = _preparation(sources / PREPARATION) | _labels(sources / CONFIGURATION)
    graph = (sources / GRAPH).read_bytes()
    report("running the graph as it is")
    side = told["side"]
    values = np.random.default_rng(0).uniform(-1, 1, (2, 3, side, side)).astype(np.float32)
    feed, output, expected = _run(graph, values, len(told["labels"]))
    report("optimising")
    optimise(graph, destination / f"{COMPONENT}.onnx")
    (destination / TOLD).write_text(json.dumps(told | {"output": output}, indent=2) + "\n", encoding="utf-8")
    report("checking")
    tolerance = model.tolerance_of(COMPONENT)
    parity.record(destination, COMPONENT, feed, expected, tolerance=tolerance, reference=REFERENCE)


def _run(graph: bytes, values: Any, labels: int) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Run the published graph on two pictures; returns what went in, the name of what counts, and what came out."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        (given,) = [each.name for each in session.get_inputs()]
        outputs = [each.name for each in session.get_outputs()]
        output = LOGITS if LOGITS in outputs else outputs[0]
        (logits,) = session.run([output], {given: values})
    except Exception as error:  # ONNX Runtime's own exceptions share no base but this
        raise WeightsError(f"{GRAPH}: takes no pictures {values.shape}: {str(error).strip()}") from error
    if logits.shape != (len(values), labels):
        raise WeightsError(f"{GRAPH}: answers {logits.shape[1:]} for {labels} labels of {CONFIGURATION}")
    return {given: values}, output, {output: logits}


def _preparation(path: Path) -> dict[str, Any]:
    """Return `side`, and mean and deviation of the three channels in levels of 0 to 255."""
    read = _read(path)
    size = read.get("crop_size") if read.get("do_center_crop") else read.get("size")
    sides = set(size.values()) if isinstance(size, dict) else {size}
    side = sides.pop() if len(sides) == 1 else None
    if not isinstance(side, int) or not 1 <= side <= LARGEST_SIDE:
        raise WeightsError(f"{path.name}: size: must be one side from 1 to {LARGEST_SIDE}, not {size}")
    scale = read.get("rescale_factor", 1 / 255) if read.get("do_rescale", True) else 1.0
    normal = bool(read.get("do_normalize", True))
    mean = np.array(read.get("image_mean", 0.0) if normal else 0.0, np.float64)
    deviation = np.array(read.get("image_std", 1.0) if normal else 1.0, np.float64)
    try:
        levels = {
            name: (np.broadcast_to(part, 3) / scale).tolist()
            for name, part in (("mean", mean), ("deviation", deviation))
        }
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise WeightsError(f"{path.name}: image_mean and image_std must have 3 channels") from error
    if not np.isfinite([*levels.values()]).all() or min(levels["deviation"]) <= 0:
        raise WeightsError(f"{path.name}: image_std and rescale_factor must be above 0")
    return {"side": side, **levels}


def _labels(path: Path) -> dict[str, Any]:
    """Return `labels` in the order of the network's outputs, and whether one of them `exclusive`ly holds."""
    read = _read(path)
    named = read.get("id2label")
    if not isinstance(named, dict) or set(named) != {str(index) for index in range(len(named))} or not named:
        raise WeightsError(f"{path.name}: id2label: must name every output from 0 on")
    exclusive = read.get("problem_type") != "multi_label_classification"
    return {"labels": [str(named[str(index)]) for index in range(len(named))], "exclusive": exclusive}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path.name}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path.name}: must be an object")
    return content


def _draw(directory: Path, seed: int) -> None:
    """Write the three files of a tiny classifier with random weights."""
    generator, graph, labels = np.random.default_rng(seed), Graph(), len(RANDOM_LABELS)

    def drawn(name: str, *shape: int) -> str:
        return graph.constant(name, generator.standard_normal(shape).astype(np.float32))

    graph.node("Conv", ["pixel_values", drawn("w", 8, 3, 8, 8)], "seen", strides=[8, 8])
    graph.node("Relu", ["seen"], "lit")
    graph.node("GlobalAveragePool", ["lit"], "pooled")
    graph.node("Flatten", ["pooled"], "flat")
    graph.node("Gemm", ["flat", drawn("v", 8, labels), drawn("b", labels)], LOGITS)
    pictures = helper.make_tensor_value_info(
        "pixel_values", TensorProto.FLOAT, ("batch", 3, RANDOM_SIDE, RANDOM_SIDE)
    )
    answer = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ("batch", labels))
    made = graph.model("classifier", [pictures], answer, opset=17, ir_version=9)
    (directory / GRAPH).write_bytes(made.SerializeToString())
    names = {str(index): label for index, label in enumerate(RANDOM_LABELS)}
    (directory / CONFIGURATION).write_text(json.dumps({"id2label": names}))
    told = {
        "size": {"height": RANDOM_SIDE, "width": RANDOM_SIDE},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (directory / PREPARATION).write_text(json.dumps(told))
