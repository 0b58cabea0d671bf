"""One exported network, run by the first runtime that is there and fits this machine.

A component lies in a directory as `<component>.onnx` (with `<component>.onnx.data` beside it where the weights are
large). `load` opens it in ONNX Runtime, on the GPU where the installed build can use one, else on the CPU.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[Any]

# What the runtimes' allocators say, in lower case: bad_alloc and the arena on the CPU, CUDA and its libraries on a GPU.
OUT_OF_MEMORY = (
    "bad_alloc",
    "failed to allocate",
    "out of memory",
    "outofmemory",
    "memory allocation failure",
    "error_out_of_memory",
    "status_alloc_failed",
)
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


class TensorType(NamedTuple):
    """What a tensor holds: its numpy type, and its length along each axis, None where the length is free."""

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


class Graph(Protocol):
    """A loaded network. `run` may be called from several threads at once.

    `runtime` is "tensorrt", "onnxruntime" or "pytorch"; `inputs` and `outputs` are in the graph's order.
    """

    runtime: str
    inputs: dict[str, TensorType]
    outputs: dict[str, TensorType]

    def run(
        self, feed: Mapping[str, Array], outputs: Sequence[str] | None = None, *, shrink: bool = False
    ) -> dict[str, Array]:
        """Return the named outputs, or all. `shrink` gives back what the run allocated, where the runtime can.

        Raises the runtime's own error; see `is_out_of_memory`.
        """
        ...


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a run failed for want of memory, on the CPU or on the GPU.

    Runtimes raise types of their own, so their text has to be read. After it, load the graph afresh: a failed run
    may keep what it holds.
    """
    text = f"{type(error).__name__}: {error}".lower()
    return isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY)


def load(
    directory: Path,
    component: str,
    *,
    threads: int,
    spin: bool = False,
    device: int | None = 0,
    steady_shapes: bool = True,
    optimise: bool = True,
) -> Graph:
    """Open `component`. `device` is the GPU to use where there is one; None keeps to the CPU.

    `threads` run one operator on the CPU; `spin` lets them burn cycles between operators, which takes the cores from
    the other models' processes. `steady_shapes=False` plans no memory by shape: for inputs whose sizes differ from
    run to run. `optimise=False` is for a graph that was optimised when it was built.
    Raises FileNotFoundError naming what was looked for.
    """
    onnx = directory / f"{component}.onnx"
    if not onnx.is_file():
        raise FileNotFoundError(
            f"{component}: there is no {onnx}; build the model again (vmesh models build)"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    options.enable_mem_pattern = steady_shapes
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _OnnxGraph(onnx, options, device)


class _OnnxGraph:
    runtime = "onnxruntime"

    def __init__(self, path: Path, options: Any, device: int | None) -> None:
        providers: list[Any] = ["CPUExecutionProvider"]
        if (
            device is not None
            and _has_gpu()
            and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        ):
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device}))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        on_gpu = "CUDAExecutionProvider" in self._session.get_providers()
        self._arenas = f"cpu:0;gpu:{device}" if on_gpu else "cpu:0"
        self.inputs = {each.name: _tensor_type(each) for each in self._session.get_inputs()}
        self.outputs = {each.name: _tensor_type(each) for each in self._session.get_outputs()}

    def run(
        self, feed: Mapping[str, Array], outputs: Sequence[str] | None = None, *, shrink: bool = False
    ) -> dict[str, Array]:
        names = list(self.outputs if outputs is None else outputs)
        options = None
        if shrink:
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", self._arenas)
        return dict(zip(names, self._session.run(names, dict(feed), options), strict=True))


def _tensor_type(value: Any) -> TensorType:
    if value.type not in DTYPES:
        raise TypeError(
            f"{value.name}: is a {value.type}; a served graph takes and gives {', '.join(DTYPES)}"
        )
    shape = tuple(axis if isinstance(axis, int) else None for axis in value.shape)
    return TensorType(np.dtype(DTYPES[value.type]), shape)


def _has_gpu() -> bool:
    """Asked of the system: ONNX Runtime would print an error for each session before it fell back."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
