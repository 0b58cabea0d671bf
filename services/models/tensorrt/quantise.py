"""Quantising convolutions and matrix products to INT8 or FP8, with scales calibrated on recorded inputs.

Symmetric: a value is its code times `scale = max|v| / largest code`. Activations have one scale a tensor, measured by
running the float32 graph; weights have one for each output channel and are stored as codes. What is not such a product
keeps its type.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from services.models.entry import Precision
from services.models.tensorrt.graph_file import Values

Array: TypeAlias = NDArray[Any]

# Below this many weights the codes save nothing that the two more operators around them do not cost.
SMALLEST_WEIGHT = 1024
# Scales are read in float16 in the end, whose smallest normal number this is.
SMALLEST_SCALE = 2.0**-14


@dataclass(frozen=True)
class Code:
    """A type of codes: its largest one, and how float32 values become codes."""

    element: int
    dtype: Any
    largest: float


CODES = {
    Precision.INT8: Code(TensorProto.INT8, np.int8, 127.0),
    Precision.FP8: Code(TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn, 448.0),
}


@dataclass(frozen=True)
class _Product:
    """A node to quantise: which input is the activation, which the weight, and the weight's axis of output channels."""

    node: NodeProto
    activation: int
    weight: int
    axis: int


def activation_ranges(
    model: onnx.ModelProto, directory: Path, feed: Mapping[str, Array], scratch: Path
) -> dict[str, float]:
    """Return `max|v|` of every activation that `quantise` will need, over one run of the float32 graph on `feed`.

    `directory` is where the graph's weights lie; `scratch` is an empty directory on the same disk.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = sorted({product.node.input[product.activation] for product in _products(model)})
    for name in names:
        magnitude, largest = f"{name}.magnitude", f"{name}.largest"
        probe.graph.node.append(helper.make_node("Abs", [name], [magnitude]))
        probe.graph.node.append(helper.make_node("ReduceMax", [magnitude], [largest], keepdims=0))
        probe.graph.output.append(helper.make_tensor_value_info(largest, TensorProto.FLOAT, []))
    for file in {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }:
        _link(directory / file, scratch / file)
    path = scratch / "probe.onnx"
    path.write_bytes(probe.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = [f"{name}.largest" for name in names]
    return dict(zip(names, map(float, session.run(wanted, dict(feed))), strict=True)) if wanted else {}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copyfile(source, target)


def quantise(
    model: onnx.ModelProto, values: Values, ranges: Mapping[str, float], precision: Precision
) -> Values:
    """Quantise the products of `model` in place; `ranges` is what `activation_ranges` gave.

    Returns what reads the initializers' values from now on: `values`, and the codes and scales made here.
    """
    code = CODES[precision]
    made: dict[str, Array] = {}
    decoded: dict[str, str] = {}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def constant(name: str, array: Array, element: int) -> str:
        made[name] = array
        model.graph.initializer.append(TensorProto(name=name, data_type=element, dims=array.shape))
        return name

    products = {product.node.output[0]: product for product in _products(model)}
    nodes: list[NodeProto] = []
    for original in model.graph.node:
        node = NodeProto.FromString(original.SerializeToString())
        product = products.get(node.output[0])
        if product is None:
            nodes.append(node)
            continue
        source, weight = node.input[product.activation], node.input[product.weight]
        if source not in decoded:
            scale = np.float32(max(ranges[source] / code.largest, SMALLEST_SCALE))
            scales = constant(f"{source}.scale", np.asarray(scale), TensorProto.FLOAT)
            zero = constant(f"{source}.zero", np.zeros((), code.dtype), code.element)
            codes, decoded[source] = f"{source}.codes", f"{source}.decoded"
            nodes.append(helper.make_node("QuantizeLinear", [source, scales, zero], [codes], name=codes))
            nodes.append(
                helper.make_node(
                    "DequantizeLinear", [codes, scales, zero], [decoded[source]], name=decoded[source]
                )
            )
        key = f"{weight}:{product.axis}"
        if key not in decoded:
            codes_of, scale_of = _encode(values(weights[weight]), product.axis, code)
            decoded[key] = f"{weight}.decoded.{product.axis}"
            inputs = [
                constant(f"{weight}.codes.{product.axis}", codes_of, code.element),
                constant(f"{weight}.scale.{product.axis}", scale_of, TensorProto.FLOAT),
                constant(f"{weight}.zero.{product.axis}", np.zeros(scale_of.shape, code.dtype), code.element),
            ]
            nodes.append(
                helper.make_node(
                    "DequantizeLinear", inputs, [decoded[key]], name=decoded[key], axis=product.axis
                )
            )
        node.input[product.activation], node.input[product.weight] = decoded[source], decoded[key]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [
        TensorProto.FromString(each.SerializeToString())
        for each in model.graph.initializer
        if each.name in read
    ]  # not the weights that are codes now
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return lambda tensor: made[tensor.name] if tensor.name in made else values(tensor)


def _products(model: onnx.ModelProto) -> Iterator[_Product]:
    """Convolutions, and products of an activation with a stored matrix."""
    sizes = {
        tensor.name: list(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= SMALLEST_WEIGHT
    }
    for node in model.graph.node:
        if (
            node.op_type not in ("Conv", "MatMul", "Gemm")
            or node.input[1] not in sizes
            or node.input[0] in sizes
        ):
            continue
        if node.op_type != "Conv" and len(sizes[node.input[1]]) != 2:
            continue
        transposed = any(each.name == "transB" and each.i for each in node.attribute)
        yield _Product(node, 0, 1, 0 if node.op_type == "Conv" or transposed else 1)


def _encode(weight: Array, axis: int, code: Code) -> tuple[Array, Array]:
    """Codes of `weight`, and their scale for each index along `axis`."""
    others = tuple(index for index in range(weight.ndim) if index != axis)
    scale = np.maximum(np.abs(weight).max(others, keepdims=True) / code.largest, SMALLEST_SCALE).astype(
        np.float32
    )
    codes = np.clip(weight / scale, -code.largest, code.largest)
    if code.dtype is np.int8:
        codes = np.rint(codes)
    return codes.astype(code.dtype), scale.ravel()
