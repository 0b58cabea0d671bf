"""Operators that builders take, in place of those they refuse.

These are ONNX Runtime's own, which optimising for it leaves, and sequences of tensors, as which exporters write a
tensor that is cut in parts.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

DOMAIN = "com.microsoft"

Ranks: TypeAlias = Mapping[str, int]


class PlainError(Exception):
    """An operator has no standard form here; the text names the node and says what to do."""


def is_plain(model: onnx.ModelProto) -> bool:
    """Tell whether `make_plain` would leave `model` as it is."""
    return not any(node.domain == DOMAIN or node.op_type == "SplitToSequence" for node in model.graph.node)


def make_plain(model: onnx.ModelProto) -> None:
    """Rewrite `model` in place; weights' values need not be loaded.

    Raises PlainError for an operator that is not in `REWRITES`, and for a form of one that is not known.
    """
    _cut_without_sequences(model)
    fused = sum(node.domain == DOMAIN for node in model.graph.node)
    while fused:
        # What follows a fused operator has no known rank before that one is rewritten, so a pass may not reach the end.
        ranks = _ranks(model)
        nodes = [made for node in model.graph.node for made in _rewrite(node, ranks)]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        left = [node for node in nodes if node.domain == DOMAIN]
        if len(left) == fused:
            raise PlainError(f"{_say(left[0])}: the rank of what it multiplies cannot be told; {REMEDY}")
        fused = len(left)
    kept = [each for each in model.opset_import if each.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(kept)


REMEDY = "export the graph without optimising it for ONNX Runtime"


def _say(node: NodeProto) -> str:
    return f"node {node.name or node.output[0]} ({node.domain}.{node.op_type})"


def _rewrite(node: NodeProto, ranks: Ranks) -> list[NodeProto]:
    """The standard nodes for one; a copy of itself when it is standard, or not to be rewritten yet."""
    copy = NodeProto.FromString(node.SerializeToString())
    if node.domain != DOMAIN:
        return [copy]
    if node.op_type not in REWRITES:
        raise PlainError(f"{_say(node)}: only ONNX Runtime knows this operator; {REMEDY}")
    chain = _Chain(copy, ranks)
    REWRITES[node.op_type](chain)
    return chain.nodes


class _Chain:
    """What stands in place of a fused node: nodes named below it, the last of which gives its output."""

    def __init__(self, fused: NodeProto, ranks: Ranks) -> None:
        self.fused, self.ranks = fused, ranks
        self.inputs = list(fused.input)
        self.attributes = {each.name: helper.get_attribute_value(each) for each in fused.attribute}
        self.nodes: list[NodeProto] = []

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{self.fused.name or self.fused.output[0]}.{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def scalar(self, value: float) -> str:
        return self.add("Constant", [], value=helper.make_tensor("value", TensorProto.FLOAT, [], [value]))

    def whole(self, value: int) -> str:
        return self.add("Constant", [], value=helper.make_tensor("value", TensorProto.INT64, [1], [value]))

    def close(self) -> None:
        self.nodes[-1].output[0] = self.fused.output[0]

    def unknown(self, what: str) -> PlainError:
        return PlainError(f"{_say(self.fused)}: {what} has no standard form here; {REMEDY}")


# FusedConv's activations, and which attributes its `activation_params` are.
ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
}


def _fused_conv(chain: _Chain) -> None:
    """act(conv(x, w, b) + z), z optional."""
    attributes = dict(chain.attributes)
    activation, parameters = (
        attributes.pop("activation", b"").decode(),
        attributes.pop("activation_params", ()),
    )
    if activation and activation not in {*ACTIVATIONS, "Clip"}:
        raise chain.unknown(f"activation {activation}")
    *operands, z = chain.inputs if len(chain.inputs) > 3 else [*chain.inputs, ""]
    value = chain.add("Conv", operands, **attributes)
    if z:
        value = chain.add("Add", [value, z])
    if activation == "Clip":  # its bounds are inputs
        chain.add("Clip", [value, *(chain.scalar(bound) for bound in parameters)])
    elif activation:
        named = dict(zip(ACTIVATIONS[activation], map(float, parameters), strict=True))
        chain.add(activation, [value], **named)
    chain.close()


def _fused_matmul(chain: _Chain) -> None:
    """The product of a and b, times alpha; each is transposed in its last two axes or not."""
    taken = {name: value for name, value in chain.attributes.items() if value}
    if extra := set(taken) - {"transA", "transB", "alpha"}:
        raise chain.unknown(", ".join(sorted(extra)))
    sides = dict(zip(("transA", "transB"), chain.inputs, strict=True))
    if any(name in taken and side not in chain.ranks for name, side in sides.items()):
        chain.nodes.append(chain.fused)
        return
    for name, side in sides.items():
        if name in taken:
            axes = list(range(chain.ranks[side]))
            sides[name] = chain.add("Transpose", [side], perm=[*axes[:-2], axes[-1], axes[-2]])
    product = chain.add("MatMul", list(sides.values()))
    if (alpha := float(taken.get("alpha", 1.0))) != 1.0:
        chain.add("Mul", [chain.scalar(alpha), product])
    chain.close()


def _bias_gelu(chain: _Chain) -> None:
    """Gelu(x + b), as y / 2 * (1 + erf(y / sqrt 2)) with y = x + b: graphs may be older than the operator."""
    y = chain.add("Add", chain.inputs)
    erf = chain.add("Erf", [chain.add("Mul", [chain.scalar(0.5**0.5), y])])
    half = chain.add("Mul", [chain.scalar(0.5), y])
    chain.add("Mul", [half, chain.add("Add", [chain.scalar(1.0), erf])])
    chain.close()


def _quick_gelu(chain: _Chain) -> None:
    """`x sigmoid(alpha x)`."""
    (x,) = chain.inputs
    scaled = chain.add("Mul", [chain.scalar(chain.attributes.get("alpha", 1.702)), x])
    chain.add("Mul", [x, chain.add("Sigmoid", [scaled])])
    chain.close()


REWRITES: dict[str, Callable[[_Chain], None]] = {
    "FusedConv": _fused_conv,
    "FusedMatMul": _fused_matmul,
    "BiasGelu": _bias_gelu,
    "QuickGelu": _quick_gelu,
}


def _cut_without_sequences(model: onnx.ModelProto) -> None:
    """Let every SequenceAt of a SplitToSequence slice its part out of the tensor itself."""
    constants = _small_constants(model)
    cuts = {node.output[0]: node for node in model.graph.node if node.op_type == "SplitToSequence"}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.output and node.output[0] in cuts:
            continue
        copy = NodeProto.FromString(node.SerializeToString())
        taken = [name for name in node.input if name in cuts]
        if not taken:
            nodes.append(copy)
            continue
        cut, index = cuts[taken[0]], constants.get(node.input[1]) if node.op_type == "SequenceAt" else None
        lengths = constants.get(cut.input[1]) if len(cut.input) > 1 else None
        if index is None or lengths is None or index < 0:
            raise PlainError(
                f"{_say(node)}: only parts of constant lengths, taken by constant places, can be sliced"
            )
        start = int(index * lengths if lengths.ndim == 0 else lengths[: int(index)].sum())
        length = int(lengths if lengths.ndim == 0 else lengths[int(index)])
        axis = next((each.i for each in cut.attribute if each.name == "axis"), 0)
        chain = _Chain(copy, {})
        chain.add("Slice", [cut.input[0], *(chain.whole(value) for value in (start, start + length, axis))])
        chain.close()
        nodes.extend(chain.nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _small_constants(model: onnx.ModelProto) -> dict[str, NDArray[np.int64]]:
    """Whole numbers that stand in the graph itself."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    constants = [node for node in model.graph.node if node.op_type == "Constant"]
    tensors |= {
        node.output[0]: each.t for node in constants for each in node.attribute if each.name == "value"
    }
    return {
        name: numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if tensor.data_type == TensorProto.INT64 and not tensor.external_data
    }


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = [*graph.input, *graph.value_info]
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in typed
        if value.type.tensor_type.HasField("shape")
    }
