"""ONNX files whose weights may not fit in memory twice: the graph is handled alone, and weights pass one at a time."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from services.models.serving.engine import TensorType

INLINE_BYTES = 1024  # smaller tensors stay in the graph, where shape arithmetic can read them
ALIGNMENT = 4096

Array: TypeAlias = NDArray[Any]
Values: TypeAlias = Callable[[TensorProto], Array]


class WeightError(Exception):
    """A weight cannot be stored in the type that was asked for; the text names it."""


def read_graph(path: Path) -> onnx.ModelProto:
    """Read a graph, leaving large weights that lie outside it where they are; local functions are inlined."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        # Shapes follow from small ones, such as the axes of a sum.
        if tensor.external_data and np.prod(tensor.dims) <= INLINE_BYTES // 8:
            external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
            del tensor.external_data[:]
            tensor.data_location = TensorProto.DEFAULT
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def graph_tensors(path: Path) -> tuple[dict[str, TensorType], dict[str, TensorType]]:
    """Return what a graph takes and gives, without reading its weights."""
    graph = read_graph(path).graph
    weights = {tensor.name for tensor in graph.initializer}  # which old exporters list as inputs too
    inputs, outputs = (
        {value.name: _tensor_type(value.type.tensor_type) for value in values if value.name not in weights}
        for values in (graph.input, graph.output)
    )
    return inputs, outputs


def _tensor_type(declared: onnx.TypeProto.Tensor) -> TensorType:
    shape = tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in declared.shape.dim)
    return TensorType(np.dtype(helper.tensor_dtype_to_np_dtype(declared.elem_type)), shape)


def stored_values(directory: Path) -> Values:
    """Return what reads an initializer's values, which may lie in a file in `directory`."""
    return lambda tensor: numpy_helper.to_array(tensor, str(directory))


def write_graph(
    model: onnx.ModelProto, values: Values, destination: Path, types: Mapping[str, int] | None = None
) -> None:
    """Write `model` to `destination`, its large weights to `<destination>.data`, converted to `types` where named.

    Changes the initializers of `model`. Raises WeightError for a value that the new type cannot hold.
    """
    beside = destination.with_name(destination.name + ".data")
    with beside.open("wb") as file:
        for tensor in model.graph.initializer:
            to = (types or {}).get(tensor.name, tensor.data_type)
            array = _convert(tensor.name, values(tensor), to)
            name, shape = tensor.name, array.shape
            tensor.Clear()
            tensor.name, tensor.data_type = name, to
            tensor.dims.extend(shape)
            if array.nbytes < INLINE_BYTES:
                tensor.raw_data = array.tobytes()
                continue
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            tensor.raw_data = b""  # the location can only be set on a tensor that has some
            external_data_helper.set_external_data(
                tensor, beside.name, offset=file.tell(), length=array.nbytes
            )
            tensor.ClearField("raw_data")
            file.write(array.tobytes())
        empty = file.tell() == 0
    if empty:
        beside.unlink()
    destination.write_bytes(model.SerializeToString())


def _convert(name: str, array: Array, to: int) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(to)
    if array.dtype != dtype and array.dtype == np.float32:
        array = _within(name, array, to)
    return np.ascontiguousarray(array.astype(dtype)).reshape(array.shape)


def _within(name: str, array: Array, to: int) -> Array:
    """Return values that `to` can hold: a lone constant is clamped, being a mask's minus infinity or an epsilon."""
    limits: Any = ml_dtypes.finfo(  # type: ignore[no-untyped-call]
        helper.tensor_dtype_to_np_dtype(to)
    )
    largest, least = float(limits.max), float(limits.smallest_subnormal)
    magnitude = np.abs(array)
    beyond = (magnitude > largest) & np.isfinite(array)
    if array.size == 1:
        clamped = np.clip(magnitude, least, largest) * np.sign(array)
        return np.where(np.isfinite(array), clamped, array).astype(np.float32)
    if beyond.any():
        raise WeightError(
            f"weight {name}: its largest value, {magnitude[beyond].max():.3g}, is beyond "
            f"{TensorProto.DataType.Name(to)}; build this component in bf16 or fp32"
        )
    return array
