"""TensorFlow's operations in plain numpy: what a converted graph is held against, and what folds constants.

`EVALUATORS` is keyed by the operation's name; an operation that is not in it is an error that names it. The meaning of
each is the one in TensorFlow's own reference of raw operations (tf.raw_ops). Images are NHWC.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from services.models.tfjs import Array, Node, TfjsError, TfjsGraph

DTYPES = {"DT_FLOAT": np.float32, "DT_INT32": np.int32, "DT_BOOL": np.bool_}


def _strides(node: Node) -> tuple[int, int]:
    first, *strides, last = node.integers("strides")
    if first != 1 or last != 1 or node.attributes["data_format"] != "NHWC":
        raise TfjsError(f"{node.name} ({node.op}): only NHWC with strides over H and W is supported")
    if set(node.integers("dilations")) - {1}:
        raise TfjsError(f"{node.name} ({node.op}): dilations {node.integers('dilations')} are not supported")
    return strides[0], strides[1]


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME: as much as the last window needs, the odd pixel at the end."""
    needed = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return needed // 2, needed - needed // 2


def _conv2d(node: Node, x: Array, weight: Array) -> Array:
    (down, across), (tall, wide) = _strides(node), weight.shape[:2]
    if node.attributes["padding"] == "SAME":
        pads = same_padding(x.shape[1], tall, down), same_padding(x.shape[2], wide, across)
        x = np.pad(x, ((0, 0), *pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (tall, wide), (1, 2))[:, ::down, ::across]  # type: ignore[call-overload]
    result: Array = np.einsum("nhwcij,ijco->nhwo", windows, weight, optimize=True)
    return result


def _depthwise(node: Node, x: Array, weight: Array) -> Array:
    """Each channel with kernels of its own."""
    (down, across), (tall, wide) = _strides(node), weight.shape[:2]
    if node.attributes["padding"] == "SAME":
        pads = same_padding(x.shape[1], tall, down), same_padding(x.shape[2], wide, across)
        x = np.pad(x, ((0, 0), *pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (tall, wide), (1, 2))[:, ::down, ::across]  # type: ignore[call-overload]
    result: Array = np.einsum("nhwcij,ijcm->nhwcm", windows, weight)
    return result.reshape(*result.shape[:3], -1)


def _fused(operation: Callable[..., Array]) -> Callable[..., Array]:
    """An operation with the bias and, where it is named, the ReLU6 that were fused into it."""

    def run(node: Node, x: Array, weight: Array, bias: Array) -> Array:
        result = operation(node, x, weight) + bias
        return np.clip(result, 0, 6) if ends_in_relu6(node) else result

    return run


def ends_in_relu6(node: Node) -> bool:
    """Tell whether a fused operation clips its result to [0, 6]. Raises TfjsError for what is fused in any other way."""
    if (fused := node.texts("fused_ops")) not in (("BiasAdd",), ("BiasAdd", "Relu6")):
        raise TfjsError(f"{node.name} ({node.op}): fusing {fused} is not supported")
    return len(fused) == 2


def _product(node: Node, x: Array, weight: Array) -> Array:
    if node.attributes["transpose_a"] or node.attributes["transpose_b"]:
        raise TfjsError(f"{node.name} ({node.op}): transposed operands are not supported")
    return np.asarray(x @ weight)


def _average(node: Node, x: Array) -> Array:
    (down, across), (_, tall, wide, _) = pooling(node), node.integers("ksize")
    windows = np.lib.stride_tricks.sliding_window_view(x, (tall, wide), (1, 2))[:, ::down, ::across]  # type: ignore[call-overload]
    return np.asarray(windows.mean((-2, -1)))


def pooling(node: Node) -> tuple[int, int]:
    """Return a pooling's strides. Raises TfjsError unless it is NHWC, over H and W, and without padding."""
    if node.attributes["padding"] != "VALID" or {node.integers("ksize")[axis] for axis in (0, 3)} != {1}:
        raise TfjsError(f"{node.name} ({node.op}): windows {node.attributes} are not supported")
    return _strides(node)


def _softmax(node: Node, x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _conv2d_transposed(node: Node, size: Array, weight: Array, x: Array) -> Array:
    """The gradient of a convolution; where the kernel is as large as the stride the windows do not overlap."""
    strides = _strides(node)
    if weight.shape[:2] != strides:
        raise TfjsError(f"{node.name} ({node.op}): kernel {weight.shape[:2]} must equal the stride {strides}")
    blocks: Array = np.einsum("nhwc,ijoc->nhiwjo", x, weight, optimize=True)
    return blocks.reshape(size)


def _strided_slice(node: Node, x: Array, begin: Array, end: Array, strides: Array) -> Array:
    for mask in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask"):
        if node.attributes.get(mask):
            raise TfjsError(f"{node.name} ({node.op}): {mask} is not supported")
    shrunk = node.attributes.get("shrink_axis_mask") or 0
    assert isinstance(shrunk, int)
    window = tuple(
        int(first) if shrunk >> axis & 1 else slice(int(first), int(last), int(stride))
        for axis, (first, last, stride) in enumerate(zip(begin, end, strides, strict=True))
    )
    return np.asarray(x[window])


def _einsum(node: Node, *values: Array) -> Array:
    result: Array = np.einsum(str(node.attributes["equation"]), *values, optimize=True)
    return result


def _axes(axes: Array) -> tuple[int, ...]:
    return tuple(map(int, axes.ravel()))


def _plain(function: Callable[..., Array]) -> Callable[..., Array]:
    """An operation without attributes that numpy has too."""
    return lambda node, *values: function(*values)


EVALUATORS: dict[str, Callable[..., Array]] = {
    "Abs": _plain(np.abs),
    "AddV2": _plain(np.add),
    "AvgPool": _average,
    "BroadcastTo": _plain(np.broadcast_to),
    "Cast": lambda node, x: x.astype(DTYPES[node.attributes["DstT"]]),
    "ConcatV2": lambda node, *values: np.concatenate(values[:-1], int(values[-1])),
    "Conv2D": _conv2d,
    "Conv2DBackpropInput": _conv2d_transposed,
    "Einsum": _einsum,
    "Exp": _plain(np.exp),
    "ExpandDims": lambda node, x, axis: np.expand_dims(x, int(axis)),
    "Floor": _plain(np.floor),
    "FloorDiv": _plain(np.floor_divide),
    "FloorMod": _plain(np.mod),
    "FusedDepthwiseConv2dNative": _fused(_depthwise),
    "GatherV2": lambda node, x, indices, axis: np.take(x, indices, int(axis)),
    "Greater": _plain(np.greater),
    "GreaterEqual": _plain(np.greater_equal),
    "Identity": lambda node, x: x,
    "Less": _plain(np.less),
    "LessEqual": _plain(np.less_equal),
    "LogicalAnd": _plain(np.logical_and),
    "Maximum": _plain(np.maximum),
    "Minimum": _plain(np.minimum),
    "Mul": _plain(np.multiply),
    "Neg": _plain(np.negative),
    "NotEqual": _plain(np.not_equal),
    "Pack": lambda node, *values: np.stack(values, node.attributes.get("axis", 0)),
    "Range": _plain(np.arange),
    "RealDiv": _plain(np.divide),
    "Reciprocal": _plain(np.reciprocal),
    "Reshape": _plain(np.reshape),
    "Rsqrt": lambda node, x: 1 / np.sqrt(x),
    "SelectV2": _plain(np.where),
    "Shape": lambda node, x: np.array(x.shape, np.int32),
    "Sign": _plain(np.sign),
    "Softmax": _softmax,
    "Square": _plain(np.square),
    "Squeeze": lambda node, x: np.squeeze(x, node.integers("squeeze_dims") or None),
    "StridedSlice": _strided_slice,
    "Sub": _plain(np.subtract),
    "Sum": lambda node, x, axes: x.sum(_axes(axes), keepdims=bool(node.attributes["keep_dims"])),
    "Tanh": _plain(np.tanh),
    "Transpose": lambda node, x, order: x.transpose(_axes(order)),
    "_FusedConv2D": _fused(_conv2d),
    "_FusedMatMul": _fused(_product),
}


def evaluator(node: Node) -> Callable[..., Array]:
    """What computes a node from its inputs' values. Raises TfjsError for an operation that is not in the table."""
    if node.op not in EVALUATORS:
        raise TfjsError(
            f"{node.name}: operation {node.op!r} is not supported; known: {', '.join(EVALUATORS)}"
        )
    return partial(EVALUATORS[node.op], node)


def run_reference(graph: TfjsGraph, feed: Mapping[str, Array]) -> dict[str, Array]:
    """Run the graph node by node: inputs by name -> outputs by name. Slow; meant for small images."""
    uses = Counter(name for node in graph.nodes for name in node.inputs) + Counter(graph.outputs)
    values: dict[str, Array] = {**graph.constants, **feed}
    for node in graph.nodes:
        if node.op != "Placeholder":
            values[node.name] = np.asarray(evaluator(node)(*(values[name] for name in node.inputs)))
        for name in node.inputs:
            uses[name] -= 1
            if not uses[name]:  # the intermediate images of a deep network do not fit together
                values.pop(name)
    return {name: values[name] for name in graph.outputs}
