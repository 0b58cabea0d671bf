"""The network's weights in an exported graph: named so that training can go on from the committed file alone."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

TRANSPOSED = ".T"
HALF = ".fp16"


def name_weights(model: onnx.ModelProto, parameters: dict[str, Tensor]) -> None:
    """Name each weight that the exporter transposed and renumbered after its parameter, with `TRANSPOSED` behind."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, value in parameters.items():
        if value.ndim == 2:
            by_shape.setdefault(tuple(reversed(value.shape)), []).append(name)
    renamed = {}
    for weight in model.graph.initializer:
        if weight.name in parameters or weight.data_type != onnx.TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(weight)
        for name in by_shape.get(array.shape, ()):
            if np.array_equal(array, parameters[name].detach().numpy().T):
                renamed[weight.name] = name + TRANSPOSED
                weight.name = name + TRANSPOSED
                break
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Parameter name -> fp32 tensor of a graph that `export` wrote (its fp16 rounding included)."""
    state = {}
    for weight in onnx.load(str(path)).graph.initializer:
        value = torch.from_numpy(numpy_helper.to_array(weight).astype(np.float32))
        name = weight.name.removesuffix(HALF)
        state[name.removesuffix(TRANSPOSED)] = value.T.contiguous() if name.endswith(TRANSPOSED) else value
    return state
