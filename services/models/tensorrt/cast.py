"""Lowering a float32 graph to float16 or bfloat16, by the types that ONNX itself declares for each operator.

Networks are strongly typed, so a precision is a change of the graph: every operator that may compute in the low type
does, those where it would overflow or lose the meaning stay in float32, and casts stand between the two. The graph's
own inputs and outputs keep their types, so an engine takes and gives what the graph it was made from does.
"""

from collections.abc import Iterator, Sequence

import onnx
from onnx import TensorProto, helper

from services.models.entry import Precision

FLOAT = TensorProto.FLOAT
LOW: dict[Precision, int] = {Precision.FP16: TensorProto.FLOAT16, Precision.BF16: TensorProto.BFLOAT16}
TYPE_NAMES: dict[int, str] = {
    TensorProto.FLOAT16: "tensor(float16)",
    TensorProto.BFLOAT16: "tensor(bfloat16)",
}

# Squares and sums leave float16's range (65504) at activations that networks really reach, and the angles of a time
# embedding (up to 1000) have no fraction left in it: these, and so a decomposed norm's inside, stay in float32.
SENSITIVE = frozenset({
    "CumSum", "Cos", "Exp", "Log", "Pow", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMean", "ReduceProd",
    "ReduceSum", "ReduceSumSquare", "Sin", "Sqrt",
})  # fmt: skip


class CastError(Exception):
    """A graph cannot be lowered; the text says why and what to do."""


def lower(model: onnx.ModelProto, precision: Precision, keep: frozenset[str] = frozenset()) -> dict[str, int]:
    """Lower `model` in place, but for its weights' values, which need not be loaded.

    Nodes named in `keep` stay in float32. Returns initializer -> element type, for those whose values whoever holds
    them must convert. Raises CastError when the type of a value cannot be told.
    """
    lift_constants(model)
    return _Lowering(model, LOW[precision], keep).run()


def lift_constants(model: onnx.ModelProto) -> None:
    """Make initializers of float32 Constant nodes, so that their values are converted like every other weight's."""
    rest = []
    for node in model.graph.node:
        value = next((each.t for each in node.attribute if each.name == "value"), None)
        if node.op_type == "Constant" and value is not None and value.data_type == FLOAT:
            lifted = model.graph.initializer.add()
            lifted.CopyFrom(value)
            lifted.name = node.output[0]
        else:
            rest.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(rest)


class _Lowering:
    def __init__(self, model: onnx.ModelProto, low: int, keep: frozenset[str]) -> None:
        self.graph, self.low, self.keep = model.graph, low, keep
        self.suffix = TensorProto.DataType.Name(low).lower()
        self.opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
        self.types = _types(model)
        self.nodes: list[onnx.NodeProto] = []
        self.lowered: set[str] = set()  # values that are now produced in the low type, under their low name
        self.cast: set[str] = set()  # names that a Cast has made already
        self.weights: set[str] = set()
        self.bridges: set[str] = set()

    def run(self) -> dict[str, int]:
        self.bridges = self._bridges()
        ports = [self._ports(node) for node in self.graph.node]
        self.weights = self._weights(ports)
        for node, (inputs, outputs) in zip(list(self.graph.node), ports, strict=True):
            for name in _captured(node):
                self._high(name)
            for index, name in enumerate(node.input):
                node.input[index] = self._low(name) if index in inputs else self._high(name)
            for index in outputs:
                self.lowered.add(node.output[index])
                node.output[index] = self._low_name(node.output[index])
            self.nodes.append(node)
        for output in self.graph.output:  # callers know it by this name and type
            self._high(output.name)
        rewritten = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self.nodes]
        del self.graph.node[:]
        self.graph.node.extend(rewritten)
        del self.graph.value_info[:]  # it tells the old types
        return dict.fromkeys(sorted(self.weights), self.low)

    def _ports(self, node: onnx.NodeProto) -> tuple[set[int], set[int]]:
        """Positions of the node's inputs and outputs that become low: those whose type parameters may, and do."""
        if (
            node.domain not in ("", "ai.onnx")
            or node.op_type in SENSITIVE
            or node.name in self.keep
            or (node.output and node.output[0] in self.bridges)
            or any(True for _ in _subgraphs(node))
        ):
            return set(), set()
        declared = onnx.defs.get_schema(node.op_type, self.opset)
        allowed = _parameters(declared, self.low)
        # Builders take bfloat16 where only a newer version of the operator declares it: Conv had none before 22.
        newest = onnx.defs.get_schema(node.op_type)
        allowed |= {
            old.type_str
            for old, new in zip(declared.inputs, newest.inputs, strict=False)
            if new.type_str in _parameters(newest, self.low)
        }
        inputs = {
            index
            for index, name in enumerate(node.input)
            if name
            and self._type(name, node) == FLOAT
            and _formal(declared.inputs, index).type_str in allowed
        }
        bound = {_formal(declared.inputs, index).type_str for index in inputs}
        outputs = {
            index
            for index, name in enumerate(node.output)
            if name and _formal(declared.outputs, index).type_str in bound
        }
        return inputs, outputs

    def _bridges(self) -> set[str]:
        """First outputs of nodes between sensitive ones, such as the addition of a norm's epsilon.

        In the low type they would overflow on the way from one to the other.
        """
        sensitive = [node for node in self.graph.node if node.op_type in SENSITIVE]
        given = {name for node in sensitive for name in node.output} | {
            each.name for each in self.graph.initializer
        }
        taken = {name for node in sensitive for name in node.input}
        others = {name for node in self.graph.node if node.op_type not in SENSITIVE for name in node.input}
        return {
            node.output[0]
            for node in self.graph.node
            if node.input
            and all(name in given for name in node.input if self.types.get(name) == FLOAT)
            and all(name in taken and name not in others for name in node.output)
        }

    def _weights(self, ports: list[tuple[set[int], set[int]]]) -> set[str]:
        """Float32 initializers that nobody reads in float32: their values can be stored in the low type."""
        high = {output.name for output in self.graph.output}
        for node, (inputs, _) in zip(self.graph.node, ports, strict=True):
            high |= {name for index, name in enumerate(node.input) if index not in inputs} | set(
                _captured(node)
            )
        stored = {tensor.name for tensor in self.graph.initializer if tensor.data_type == FLOAT}
        return stored - high

    def _type(self, name: str, node: onnx.NodeProto) -> int:
        if name not in self.types:
            raise CastError(
                f"node {node.name or node.output[0]} ({node.op_type}): the type of its input {name!r} cannot be told; "
                "export the graph without runtime-specific operators, or build it in fp32"
            )
        return self.types[name]

    def _low_name(self, name: str) -> str:
        return f"{name}.{self.suffix}"

    def _low(self, name: str) -> str:
        if name in self.weights:
            return name
        if name not in self.lowered:
            self._add_cast(name, self._low_name(name), self.low)
        return self._low_name(name)

    def _high(self, name: str) -> str:
        if name in self.lowered:
            self._add_cast(self._low_name(name), name, FLOAT)
        return name

    def _add_cast(self, source: str, made: str, to: int) -> None:
        if made not in self.cast:
            self.cast.add(made)
            self.nodes.append(helper.make_node("Cast", [source], [made], name=f"{made}.cast", to=to))


def _types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = [*graph.input, *graph.output, *graph.value_info]
    types = {value.name: value.type.tensor_type.elem_type for value in typed}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _parameters(schema: onnx.defs.OpSchema, low: int) -> set[str]:
    return {
        each.type_param_str for each in schema.type_constraints if TYPE_NAMES[low] in each.allowed_type_strs
    }


def _formal(
    declared: Sequence[onnx.defs.OpSchema.FormalParameter], index: int
) -> onnx.defs.OpSchema.FormalParameter:
    """The declaration of position `index`; the last one also stands for all that follow it."""
    return declared[min(index, len(declared) - 1)]


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.HasField("g") else attribute.graphs


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the node's subgraphs read; some are their own, which does no harm."""
    for graph in _subgraphs(node):
        for inner in graph.node:
            yield from inner.input
            yield from _captured(inner)
        yield from (output.name for output in graph.output)
