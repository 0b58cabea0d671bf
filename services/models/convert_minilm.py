"""MiniLM (a BERT encoder: 6 layers, width 384, 12 heads) from safetensors -> ONNX, without torch.

The graph's inputs are `ids` and `mask`, INT64 [B, T]; its output is `states`, FP32 [B, T, 384], with
padding zeroed. `run_reference` is the same forward pass in plain numpy, to hold the graph against.
"""

import json
import math
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from services.models import parity
from services.models.converters import Report
from services.models.entry import Model
from services.models.onnx_graph import Graph
from services.models.optimise import optimise

OPSET = 20  # the first with Gelu
LAYERS, WIDTH, HEADS = 6, 384, 12
EPSILON = 1e-12
MASKED = np.float32(-1e9)
# A short text with padding and a longer one.
SAMPLE_TOKENS = [[101, 1037, 2417, 6207, 102, 0, 0], [101, 1996, 4248, 2829, 4419, 1012, 102]]

Array = NDArray[np.float32]
Weights = dict[str, Array]


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write `model.onnx` and the tokenizer, checked against numpy. Raises SafetensorsError and ParityError."""
    report("converting")
    weights = read_safetensors(sources / "model.safetensors")
    optimise(to_onnx(weights).SerializeToString(), destination / "model.onnx")
    shutil.copyfile(sources / "tokenizer.json", destination / "tokenizer.json")
    report("checking")
    ids = np.array(SAMPLE_TOKENS, np.int64)
    mask = (ids != 0).astype(np.int64)
    parity.record(
        destination,
        "model",
        {"ids": ids, "mask": mask},
        {"states": run_reference(weights, ids, mask)},
        tolerance=model.tolerance_of("model"),
        reference=f"BERT in NumPy {np.__version__}",
    )


class SafetensorsError(Exception):
    """The file is not a readable safetensors file of float32 tensors."""


def read_safetensors(path: Path) -> Weights:
    """Read every F32 tensor of a safetensors file by name (others, such as position ids, are skipped)."""
    data = path.read_bytes()
    try:
        (length,) = struct.unpack_from("<Q", data)
        header: dict[str, dict[str, Any]] = json.loads(data[8 : 8 + length])
        tensors: Weights = {}
        for name, tensor in header.items():
            if tensor.get("dtype") == "F32":
                begin, end = tensor["data_offsets"]
                values = np.frombuffer(data, np.float32, (end - begin) // 4, 8 + length + begin)
                tensors[name] = values.reshape(tensor["shape"])
    except (struct.error, ValueError, KeyError) as error:
        raise SafetensorsError(f"{path.name}: not a safetensors file: {error}") from error
    return tensors


def _linear(graph: Graph, weights: Weights, name: str, x: str, output: str) -> str:
    product = graph.node(
        "MatMul", [x, graph.constant(f"{name}.weight", weights[f"{name}.weight"].T)], f"{output}.product"
    )
    return graph.node("Add", [product, graph.constant(f"{name}.bias", weights[f"{name}.bias"])], output)


def _normalise(graph: Graph, weights: Weights, name: str, x: str, output: str) -> str:
    parameters = [graph.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")]
    return graph.node("LayerNormalization", [x, *parameters], output, axis=-1, epsilon=EPSILON)


def _attention(graph: Graph, weights: Weights, prefix: str, x: str, bias: str) -> str:
    split = graph.constant("split_heads", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
    heads = {}
    for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        name = f"{prefix}.attention.self.{part}"
        reshaped = graph.node(
            "Reshape", [_linear(graph, weights, name, x, f"{name}.out"), split], f"{name}.split"
        )
        heads[part] = graph.node("Transpose", [reshaped], f"{name}.heads", perm=order)
    scale = graph.constant("scale", np.array(1 / math.sqrt(WIDTH // HEADS), np.float32))
    scores = graph.node("MatMul", [heads["query"], heads["key"]], f"{prefix}.scores")
    scaled = graph.node("Mul", [scores, scale], f"{prefix}.scaled")
    shares = graph.node(
        "Softmax", [graph.node("Add", [scaled, bias], f"{prefix}.masked")], f"{prefix}.shares", axis=-1
    )
    mixed = graph.node("MatMul", [shares, heads["value"]], f"{prefix}.mixed")
    joined = graph.node("Transpose", [mixed], f"{prefix}.joined", perm=[0, 2, 1, 3])
    flat = graph.constant("join_heads", np.array([0, 0, WIDTH], np.int64))
    context = graph.node("Reshape", [joined, flat], f"{prefix}.context")
    return _linear(graph, weights, f"{prefix}.attention.output.dense", context, f"{prefix}.attended")


def _layer(graph: Graph, weights: Weights, prefix: str, x: str, bias: str) -> str:
    attended = graph.node("Add", [x, _attention(graph, weights, prefix, x, bias)], f"{prefix}.residual1")
    x = _normalise(graph, weights, f"{prefix}.attention.output.LayerNorm", attended, f"{prefix}.normed1")
    wide = _linear(graph, weights, f"{prefix}.intermediate.dense", x, f"{prefix}.wide")
    active = graph.node("Gelu", [wide], f"{prefix}.active")
    narrow = _linear(graph, weights, f"{prefix}.output.dense", active, f"{prefix}.narrow")
    residual = graph.node("Add", [x, narrow], f"{prefix}.residual2")
    return _normalise(graph, weights, f"{prefix}.output.LayerNorm", residual, f"{prefix}.normed2")


def _embed(graph: Graph, weights: Weights) -> str:
    words = graph.constant("words", weights["embeddings.word_embeddings.weight"])
    kinds = weights["embeddings.token_type_embeddings.weight"]
    # One text per row, so every token is of kind 0: its embedding folds into the positions.
    positions = graph.constant("positions", weights["embeddings.position_embeddings.weight"] + kinds[0])
    length = graph.node("Shape", ["ids"], "length", start=1, end=2)
    start, axis = graph.constant("zero", np.array([0], np.int64)), "zero"
    used = graph.node("Slice", [positions, start, length, axis], "used_positions")
    summed = graph.node("Add", [graph.node("Gather", [words, "ids"], "word_states"), used], "embedded")
    return _normalise(graph, weights, "embeddings.LayerNorm", summed, "embedded.normed")


def to_onnx(weights: Weights) -> onnx.ModelProto:
    """Weights under their BERT names -> the ONNX model."""
    graph = Graph()
    mask = graph.node("Cast", ["mask"], "mask.float", to=TensorProto.FLOAT)
    one, low = graph.constant("one", np.array(1, np.float32)), graph.constant("low", np.array(MASKED))
    hidden = graph.node("Mul", [graph.node("Sub", [one, mask], "hidden"), low], "hidden.bias")
    across = graph.constant("across", np.array([1, 2], np.int64))
    bias = graph.node("Unsqueeze", [hidden, across], "bias")
    x = _embed(graph, weights)
    for index in range(LAYERS):
        x = _layer(graph, weights, f"encoder.layer.{index}", x, bias)
    last = graph.constant("last", np.array([2], np.int64))
    graph.node("Mul", [x, graph.node("Unsqueeze", [mask, last], "mask.wide")], "states")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"]) for name in ("ids", "mask")]
    output = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["B", "T", WIDTH])
    return graph.model("minilm", inputs, output, OPSET, ir_version=9)


def _reference_normalise(weights: Weights, name: str, x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    normalised: Array = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return normalised


def run_reference(weights: Weights, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Array:
    """The same forward pass in numpy: ids, mask [B, T] -> states [B, T, 384]. Slow; meant for short texts."""

    def linear(name: str, x: Array) -> Array:
        result: Array = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return result

    def split(x: Array) -> Array:
        return x.reshape(*x.shape[:2], HEADS, -1).swapaxes(1, 2)

    erf = np.vectorize(math.erf, otypes=[np.float32])
    kinds = weights["embeddings.token_type_embeddings.weight"]
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]] + kinds[0]
    x = _reference_normalise(weights, "embeddings.LayerNorm", x)
    bias = (1 - mask[:, None, None, :].astype(np.float32)) * MASKED
    for prefix in (f"encoder.layer.{index}" for index in range(LAYERS)):
        query, key, value = (
            split(linear(f"{prefix}.attention.self.{part}", x)) for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(-1, -2) / math.sqrt(WIDTH // HEADS) + bias
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ value
        context = mixed.swapaxes(1, 2).reshape(*x.shape)
        attended = x + linear(f"{prefix}.attention.output.dense", context)
        x = _reference_normalise(weights, f"{prefix}.attention.output.LayerNorm", attended)
        wide = linear(f"{prefix}.intermediate.dense", x)
        active = wide * 0.5 * (1 + erf(wide / math.sqrt(2)))
        narrow = linear(f"{prefix}.output.dense", active)
        x = _reference_normalise(weights, f"{prefix}.output.LayerNorm", x + narrow)
    return (x * mask[..., None]).astype(np.float32)
