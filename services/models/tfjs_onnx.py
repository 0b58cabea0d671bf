"""TensorFlow's operations as ONNX nodes: the table `EMITTERS`, keyed by the operation's name. Images stay NHWC."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from services.models.onnx_graph import Graph
from services.models.tfjs import Array, Node, TfjsError, TfjsGraph
from services.models.tfjs_numpy import ends_in_relu6, pooling

FROM_NHWC, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


class Emission:
    """An ONNX graph being made of a TensorFlow.js graph: what is known so far, and under which ONNX name it goes."""

    def __init__(self, source: TfjsGraph) -> None:
        self.graph = Graph()
        self.known = dict(source.constants)
        self.names = {name: name for name in source.inputs}

    def value(self, name: str) -> str:
        """The ONNX name of a value; a known one is stored as a constant when it is first asked for."""
        if name not in self.names:
            array = self.known[name]
            self.names[name] = self.constant(
                name, array.astype(np.int64) if array.dtype == np.int32 else array
            )
        return self.names[name]

    def constant(self, name: str, array: Array) -> str:
        """Store an array under a name, and return the name."""
        return self.graph.constant(name, np.asarray(array))

    def integers(self, name: str, *values: int) -> str:
        """Store 64-bit integers, as ONNX wants axes and sizes."""
        return self.constant(name, np.array(values, np.int64))

    def fixed(self, node: Node, index: int) -> Array:
        """An input that must be known now. Raises TfjsError when it depends on the graph's inputs."""
        name = node.inputs[index]
        if name not in self.known:
            raise TfjsError(f"{node.name} ({node.op}): input {index}, {name}, must be a constant")
        return self.known[name]

    def emit(self, kind: str, inputs: Iterable[str], name: str, **attributes: Any) -> str:
        """Append an ONNX node, and return the name of its value."""
        return self.graph.node(kind, list(inputs), name, **attributes)


Emitter = Callable[[Emission, Node, list[str]], Any]


def _same(kind: str) -> Emitter:
    """An operation that ONNX has too, with the same inputs and no attributes."""
    return lambda make, node, inputs: make.emit(kind, inputs, node.name)


def _followed_by(first: str, second: str) -> Emitter:
    def emit(make: Emission, node: Node, inputs: list[str]) -> None:
        make.emit(second, [make.emit(first, inputs, f"{node.name}:{first}")], node.name)

    return emit


def _sum(make: Emission, node: Node, inputs: list[str]) -> None:
    axes = make.integers(f"{node.name}:axes", *make.fixed(node, 1).ravel().tolist())
    make.emit("ReduceSum", [inputs[0], axes], node.name, keepdims=int(bool(node.attributes["keep_dims"])))


def _strided_slice(make: Emission, node: Node, inputs: list[str]) -> None:
    for mask in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask"):
        if node.attributes.get(mask):
            raise TfjsError(f"{node.name} ({node.op}): {mask} is not supported")
    x, begin, end, strides = inputs
    shrunk = int(str(node.attributes.get("shrink_axis_mask") or 0))
    if not shrunk:
        make.emit("Slice", [x, begin, end, "", strides], node.name)
        return
    sliced = make.emit("Slice", [x, begin, end, "", strides], f"{node.name}:sliced")
    axes = [axis for axis in range(shrunk.bit_length()) if shrunk >> axis & 1]
    make.emit("Squeeze", [sliced, make.integers(f"{node.name}:axes", *axes)], node.name)


def _einsum(make: Emission, node: Node, inputs: list[str]) -> None:
    """ONNX Runtime's own Einsum turns and copies more than the common cases need."""
    match node.attributes["equation"]:
        case "abcg,gf->abcf":
            make.emit("MatMul", inputs, node.name)
        case "abgd,gf->abdf":
            turned = make.emit("Transpose", inputs[:1], f"{node.name}:turned", perm=[0, 1, 3, 2])
            make.emit("MatMul", [turned, inputs[1]], node.name)
        case equation:
            make.emit("Einsum", inputs, node.name, equation=str(equation))


def _layer_norm(make: Emission, node: Node, inputs: list[str]) -> None:
    vectors = [
        make.constant(f"{node.name}:{part}", make.fixed(node, index).ravel())
        for index, part in ((1, "scale"), (2, "bias"))
    ]
    make.emit(
        "LayerNormalization", [inputs[0], *vectors], node.name, axis=-1, epsilon=node.attributes["epsilon"]
    )


def _check_convolution(node: Node) -> tuple[int, int]:
    first, *strides, last = node.integers("strides")
    if first != 1 or last != 1 or set(node.integers("dilations")) != {1}:
        raise TfjsError(f"{node.name} ({node.op}): strides or dilations {node.attributes} are not supported")
    if node.attributes["data_format"] != "NHWC" or node.attributes["padding"] not in ("SAME", "VALID"):
        raise TfjsError(f"{node.name} ({node.op}): layout or padding {node.attributes} is not supported")
    return strides[0], strides[1]


def _convolution(make: Emission, node: Node, inputs: list[str]) -> None:
    strides, weight = _check_convolution(node), make.fixed(node, 1)
    if weight.shape[:2] == strides == (1, 1):  # a product along the channels, without turning the image round
        make.emit("MatMul", [inputs[0], make.constant(f"{node.name}:weight", weight[0, 0])], node.name)
        return
    kernel = make.constant(f"{node.name}:weight", weight.transpose(3, 2, 0, 1))
    turned = make.emit("Transpose", inputs[:1], f"{node.name}:nchw", perm=FROM_NHWC)
    padding = {"SAME": "SAME_UPPER", "VALID": "VALID"}[str(node.attributes["padding"])]
    convolved = make.emit(
        "Conv", [turned, kernel], f"{node.name}:convolved", auto_pad=padding, strides=list(strides)
    )
    make.emit("Transpose", [convolved], node.name, perm=TO_NHWC)


def _fused_convolution(make: Emission, node: Node, inputs: list[str]) -> None:
    """Always a Conv: between two of them ONNX Runtime takes the turning round out again."""
    weight, strides = make.fixed(node, 1), _check_convolution(node)
    depthwise = node.op == "FusedDepthwiseConv2dNative"
    channels = weight.shape[2] if depthwise else 1
    order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    kernel = weight.transpose(order).reshape(-1, 1 if depthwise else weight.shape[2], *weight.shape[:2])
    padding = {"SAME": "SAME_UPPER", "VALID": "VALID"}[str(node.attributes["padding"])]
    made = make.emit(
        "Conv",
        [
            make.emit("Transpose", inputs[:1], f"{node.name}:nchw", perm=FROM_NHWC),
            make.constant(f"{node.name}:weight", kernel),
            make.constant(f"{node.name}:bias", make.fixed(node, 2)),
        ],
        f"{node.name}:convolved",
        auto_pad=padding,
        strides=list(strides),
        group=channels,
    )
    if ends_in_relu6(node):
        made = _clip(make, node, made)
    make.emit("Transpose", [made], node.name, perm=TO_NHWC)


def _clip(make: Emission, node: Node, value: str) -> str:
    bounds = [make.constant(f"relu6:{bound}", np.array(bound, np.float32)) for bound in (0, 6)]
    return make.emit("Clip", [value, *bounds], f"{node.name}:clipped")


def _fused_product(make: Emission, node: Node, inputs: list[str]) -> None:
    if ends_in_relu6(node) or node.attributes["transpose_a"] or node.attributes["transpose_b"]:
        raise TfjsError(f"{node.name} ({node.op}): {node.attributes} is not supported")
    product = make.emit("MatMul", inputs[:2], f"{node.name}:product")
    make.emit("Add", [product, inputs[2]], node.name)


def _average(make: Emission, node: Node, inputs: list[str]) -> None:
    strides, (_, *window, _) = pooling(node), node.integers("ksize")
    turned = make.emit("Transpose", inputs, f"{node.name}:nchw", perm=FROM_NHWC)
    pooled = make.emit(
        "AveragePool", [turned], f"{node.name}:pooled", kernel_shape=window, strides=list(strides)
    )
    make.emit("Transpose", [pooled], node.name, perm=TO_NHWC)


def _squeeze(make: Emission, node: Node, inputs: list[str]) -> None:
    axes = make.integers(f"{node.name}:axes", *node.integers("squeeze_dims"))
    make.emit("Squeeze", [inputs[0], axes], node.name)


def _transposed_convolution(make: Emission, node: Node, inputs: list[str]) -> None:
    """Only where windows do not overlap: there the result's size is the stride times the image's, and needs no input."""
    strides, weight = _check_convolution(node), make.fixed(node, 1)
    if weight.shape[:2] != strides:
        raise TfjsError(f"{node.name} ({node.op}): kernel {weight.shape[:2]} must equal the stride {strides}")
    kernel = make.constant(f"{node.name}:weight", weight.transpose(3, 2, 0, 1))
    turned = make.emit("Transpose", inputs[2:], f"{node.name}:nchw", perm=FROM_NHWC)
    grown = make.emit("ConvTranspose", [turned, kernel], f"{node.name}:grown", strides=list(strides))
    make.emit("Transpose", [grown], node.name, perm=TO_NHWC)


EMITTERS: dict[str, Emitter] = {
    "AddV2": _same("Add"),
    "AvgPool": _average,
    "BroadcastTo": _same("Expand"),
    "ConcatV2": lambda make, node, x: make.emit("Concat", x[:-1], node.name, axis=int(make.fixed(node, -1))),
    "Conv2D": _convolution,
    "Conv2DBackpropInput": _transposed_convolution,
    "Einsum": _einsum,
    "Exp": _same("Exp"),
    "FusedDepthwiseConv2dNative": _fused_convolution,
    "GatherV2": lambda make, node, x: make.emit("Gather", x[:2], node.name, axis=int(make.fixed(node, 2))),
    "Gelu": lambda make, node, x: make.emit("Gelu", x, node.name, approximate="tanh"),
    "GreaterEqual": _same("GreaterOrEqual"),
    "Identity": _same("Identity"),
    "LayerNorm": _layer_norm,
    "Maximum": _same("Max"),
    "Mul": _same("Mul"),
    "Neg": _same("Neg"),
    "RealDiv": _same("Div"),
    "Reciprocal": _same("Reciprocal"),
    "Reshape": _same("Reshape"),
    "Rsqrt": _followed_by("Sqrt", "Reciprocal"),
    "SelectV2": _same("Where"),
    "Softmax": lambda make, node, x: make.emit("Softmax", x, node.name, axis=-1),
    "Square": lambda make, node, x: make.emit("Mul", [x[0], x[0]], node.name),
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Sub": _same("Sub"),
    "Sum": _sum,
    "Tanh": _same("Tanh"),
    "Transpose": lambda make, node, x: make.emit(
        "Transpose", x[:1], node.name, perm=make.fixed(node, 1).ravel().tolist()
    ),
    "_FusedConv2D": _fused_convolution,
    "_FusedMatMul": _fused_product,
}


def emitter(node: Node) -> Emitter:
    """What emits a node. Raises TfjsError for an operation that is not in the table."""
    if node.op not in EMITTERS:
        raise TfjsError(f"{node.name}: operation {node.op!r} is not supported; known: {', '.join(EMITTERS)}")
    return EMITTERS[node.op]
