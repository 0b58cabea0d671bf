"""An ONNX graph under construction, for the converters."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Graph:
    """Collects nodes and constants; every method returns the name of the value it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Store a constant; the same name given twice is stored once."""
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node with one output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def model(
        self,
        name: str,
        inputs: list[onnx.ValueInfoProto],
        output: onnx.ValueInfoProto,
        opset: int,
        ir_version: int,
    ) -> onnx.ModelProto:
        """Close the graph into a model. ONNX Runtime checks it when it is optimised."""
        graph = helper.make_graph(self.nodes, name, inputs, [output], list(self.constants.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
