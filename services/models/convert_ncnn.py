"""ncnn layers -> an ONNX graph, and a plain numpy forward pass to hold it against.

Covers the layer types of the Real-ESRGAN files. Images are [N, 3, H, W] RGB in [0, 1], any H and W.
Both tables below are keyed by the ncnn layer type; a type in neither is an error that names it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from services.models import parity
from services.models.converters import Report
from services.models.entry import Model
from services.models.ncnn import Array, Layer, NcnnError, read_ncnn
from services.models.onnx_graph import Graph
from services.models.optimise import optimise

OPSET = 17
LEAKY_RELU = 2  # ncnn's number for the activation fused into a convolution
SAMPLE_IMAGE = (3, 13, 10)


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write one graph per entry of `outputs`, checked against numpy. Raises NcnnError and ParityError."""
    for component, stem in model.outputs.items():
        report(f"converting {component}")
        layers = read_ncnn(sources / f"{stem}.param", sources / f"{stem}.bin")
        optimise(to_onnx(layers).SerializeToString(), destination / f"{component}.onnx")
        report(f"checking {component}")
        image = np.random.default_rng(0).random(SAMPLE_IMAGE, dtype=np.float32)
        parity.record(
            destination,
            component,
            {"image": image[None]},
            {"upscaled": run_reference(layers, image)[None]},
            tolerance=model.tolerance_of(component),
            reference=f"ncnn's layers in NumPy {np.__version__}",
        )


def _weight(layer: Layer) -> Array:
    if layer.weight is None:
        raise NcnnError(f"{layer.name} ({layer.kind}): has no weights")
    return layer.weight


def _check_convolution(layer: Layer) -> None:
    plain = layer.number(2, 1) == 1 and layer.number(3, 1) == 1
    if not plain or layer.number(9) not in (0, LEAKY_RELU):
        raise NcnnError(f"{layer.name}: dilation, stride or activation {layer.arguments} is not supported")


def _convolution(graph: Graph, layer: Layer) -> None:
    _check_convolution(layer)
    inputs = [layer.inputs[0], graph.constant(f"{layer.name}.weight", _weight(layer))]
    if layer.bias is not None:
        inputs.append(graph.constant(f"{layer.name}.bias", layer.bias))
    pad, (output,) = int(layer.number(4)), layer.outputs
    if layer.number(9) == LEAKY_RELU:
        inner = graph.node("Conv", inputs, f"{output}.linear", pads=[pad] * 4)
        graph.node("LeakyRelu", [inner], output, alpha=layer.numbers(10)[0])
    else:
        graph.node("Conv", inputs, output, pads=[pad] * 4)


def _prelu(graph: Graph, layer: Layer) -> None:
    slope = graph.constant(f"{layer.name}.slope", _weight(layer).reshape(-1, 1, 1))
    graph.node("PRelu", [layer.inputs[0], slope], layer.outputs[0])


def _interp(graph: Graph, layer: Layer) -> None:
    _check_nearest(layer)
    scales = np.array([1, 1, layer.number(1), layer.number(2)], np.float32)
    inputs = [layer.inputs[0], "", graph.constant(f"{layer.name}.scales", scales)]
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    graph.node("Resize", inputs, layer.outputs[0], **nearest)


def _check_nearest(layer: Layer) -> None:
    if layer.number(0) != 1:
        raise NcnnError(
            f"{layer.name}: only nearest-neighbour Interp is supported, not kind {layer.number(0):g}"
        )


def _weighted_sum(graph: Graph, layer: Layer) -> None:
    terms = list(layer.inputs)
    for index, factor in enumerate(_factors(layer)):
        if factor != 1:
            value = graph.constant(f"{layer.name}.factor{index}", np.array(factor, np.float32))
            terms[index] = graph.node("Mul", [terms[index], value], f"{layer.name}.term{index}")
    graph.node("Sum" if len(terms) > 2 else "Add", terms, layer.outputs[0])


def _factors(layer: Layer) -> tuple[float, ...]:
    """Factors of a sum: Eltwise carries them, BinaryOp's addition has none."""
    wanted = 1 if layer.kind == "Eltwise" else 0
    if layer.number(0) != wanted:
        raise NcnnError(f"{layer.name} ({layer.kind}): operation {layer.number(0):g} is not a sum")
    return (layer.numbers(1) if layer.kind == "Eltwise" else ()) or (1.0,) * len(layer.inputs)


def _concat(graph: Graph, layer: Layer) -> None:
    graph.node("Concat", list(layer.inputs), layer.outputs[0], axis=1)


def _pixel_shuffle(graph: Graph, layer: Layer) -> None:
    graph.node(
        "DepthToSpace", [layer.inputs[0]], layer.outputs[0], blocksize=int(layer.number(0)), mode="CRD"
    )


EMITTERS: dict[str, Callable[[Graph, Layer], None]] = {
    "Input": lambda graph, layer: None,
    "Convolution": _convolution,
    "PReLU": _prelu,
    "Interp": _interp,
    "Eltwise": _weighted_sum,
    "BinaryOp": _weighted_sum,
    "Split": lambda graph, layer: None,  # one value under several names: `convert` resolves them
    "Concat": _concat,
    "PixelShuffle": _pixel_shuffle,
}


def to_onnx(layers: list[Layer]) -> onnx.ModelProto:
    """Layers -> ONNX model, `image` [N, 3, H, W] fp32 in, `upscaled` fp32 out. Raises NcnnError."""
    graph = Graph()
    for layer in _without_aliases(layers):
        if layer.kind not in EMITTERS:
            raise NcnnError(
                f"{layer.name}: layer type {layer.kind!r} is not supported; known: {', '.join(EMITTERS)}"
            )
        EMITTERS[layer.kind](graph, layer)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])
    upscaled = helper.make_tensor_value_info("upscaled", TensorProto.FLOAT, ["N", 3, "H4", "W4"])
    return graph.model("ncnn", [image], upscaled, OPSET, ir_version=8)


def _without_aliases(layers: list[Layer]) -> list[Layer]:
    """Rename so that a Split's outputs are its input, and the ends are `image` and `upscaled`."""
    names = {layers[0].outputs[0]: "image", layers[-1].outputs[0]: "upscaled"}
    renamed = []
    for layer in layers:
        inputs = tuple(names.get(name, name) for name in layer.inputs)
        if layer.kind == "Split":
            names.update(dict.fromkeys(layer.outputs, inputs[0]))
        outputs = tuple(names.get(name, name) for name in layer.outputs)
        renamed.append(replace(layer, inputs=inputs, outputs=outputs))
    return renamed


def _convolve(layer: Layer, x: Array) -> Array:
    _check_convolution(layer)
    weight, pad = _weight(layer), int(layer.number(4))
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (1, 2))  # type: ignore[call-overload]
    y = np.einsum("ihwkl,oikl->ohw", windows, weight, optimize=True)
    y = y if layer.bias is None else y + layer.bias[:, None, None]
    return np.where(y < 0, y * layer.numbers(10)[0], y) if layer.number(9) == LEAKY_RELU else y


def _shuffle(layer: Layer, x: Array) -> Array:
    factor, (channels, height, width) = int(layer.number(0)), x.shape
    blocks = x.reshape(channels // factor**2, factor, factor, height, width).transpose(0, 3, 1, 4, 2)
    return blocks.reshape(channels // factor**2, height * factor, width * factor)


REFERENCE: dict[str, Callable[[Layer, list[Array]], Array]] = {
    "Convolution": lambda layer, x: _convolve(layer, x[0]),
    "PReLU": lambda layer, x: np.where(x[0] < 0, x[0] * _weight(layer)[:, None, None], x[0]),
    "Interp": lambda layer, x: x[0].repeat(int(layer.number(1)), 1).repeat(int(layer.number(2)), 2),
    "Eltwise": lambda layer, x: np.sum([f * v for f, v in zip(_factors(layer), x, strict=True)], axis=0),
    "BinaryOp": lambda layer, x: np.sum([f * v for f, v in zip(_factors(layer), x, strict=True)], axis=0),
    "Split": lambda layer, x: x[0],
    "Concat": lambda layer, x: np.concatenate(x),
    "PixelShuffle": lambda layer, x: _shuffle(layer, x[0]),
}


def run_reference(layers: list[Layer], image: Array) -> Array:
    """Run the layers one by one in numpy: [3, H, W] -> [3, 4H, 4W]. Slow; meant for small images."""
    values: dict[str, Array] = {layers[0].outputs[0]: image}
    for layer in layers[1:]:
        result = REFERENCE[layer.kind](layer, [values[name] for name in layer.inputs]).astype(np.float32)
        values.update(dict.fromkeys(layer.outputs, result))
    return values[layers[-1].outputs[0]]
