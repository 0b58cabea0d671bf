"""One exported network, run by the first runtime that is there and fits this machine.

A component lies in a directory as `<component>.onnx` (with `<component>.onnx.data` beside it where the weights are
large) or, where it could not become that, as `<component>.pt2`. `load` opens the engine in `../engines/<component>/`
that was found to compute the same on GPUs like the one here; else ONNX Runtime, on the GPU where it can; else PyTorch.
"""

import importlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
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
    "errormemoryallocation",
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
# A file inside a .pt2: {"inputs": [...], "outputs": [...]}, the tensors' names in the module's order.
TENSORS = "tensors.json"
NAMES = {"onnxruntime": "ONNX Runtime", "pytorch": "PyTorch"}

log = logging.getLogger(__name__)


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
    Logs why a better runtime was passed over. Raises FileNotFoundError naming what was looked for.
    """
    exported, traced = directory / f"{component}.onnx", directory / f"{component}.pt2"
    if not exported.is_file() and not traced.is_file():
        raise FileNotFoundError(
            f"{component}: there is neither {exported} nor {traced.name}; build the model again (vmesh models build)"
        )

    def open_portable() -> Graph:
        if exported.is_file():
            return _OnnxGraph(exported, _options(threads, spin, steady_shapes, optimise), device)
        return _TorchGraph(traced, threads, device)

    engines = directory.parent / "engines" / component
    try:
        return _EngineGraph(engines, device, open_portable)
    except Exception as error:  # whatever it is, the model can still be served
        # Worth a warning only where somebody built engines and expects them to run.
        level = logging.WARNING if engines.is_dir() else logging.INFO
        graph = open_portable()
        log.log(level, "%s runs in %s, not TensorRT: %s", component, NAMES[graph.runtime], error)
    return graph


class _EngineGraph:
    """The engine promoted for this machine; what comes in shapes it was not built for takes the portable graph."""

    runtime = "tensorrt"

    def __init__(self, engines: Path, device: int | None, open_portable: Callable[[], Graph]) -> None:
        if device is None:
            raise ValueError("its caller keeps to the CPU")
        # Beside this file in a build, in this package elsewhere.
        module: Any = importlib.import_module(f"{__package__}.engine" if __package__ else "engine")
        self._engine = module.Engine(*module.promoted(engines, device), device)
        self._refusal = module.ShapeError
        self.inputs: dict[str, TensorType] = self._engine.inputs
        self.outputs: dict[str, TensorType] = self._engine.outputs
        self._component = engines.name
        self._open_portable = open_portable
        self._portable: Graph | None = None
        self._lock = Lock()

    def run(
        self, feed: Mapping[str, Array], outputs: Sequence[str] | None = None, *, shrink: bool = False
    ) -> dict[str, Array]:
        try:
            results: dict[str, Array] = self._engine.run(feed, outputs, shrink=shrink)
        except self._refusal as error:
            with self._lock:
                if self._portable is None:
                    log.warning("%s also runs beside its engine, which is slower: %s", self._component, error)
                    self._portable = self._open_portable()
            return self._portable.run(feed, outputs, shrink=shrink)
        return results


def _options(threads: int, spin: bool, steady_shapes: bool, optimise: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    options.enable_mem_pattern = steady_shapes
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


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


class _TorchGraph:
    """A module that `torch.export` traced, with the names of its tensors in the file."""

    runtime = "pytorch"

    def __init__(self, path: Path, threads: int, device: int | None) -> None:
        self._torch: Any = importlib.import_module("torch")
        self._torch.set_num_threads(threads)
        on_gpu = device is not None and self._torch.cuda.is_available()
        self._device = self._torch.device("cuda", device) if on_gpu else self._torch.device("cpu")
        extra = {TENSORS: ""}
        program = self._torch.export.load(path, extra_files=extra)
        self._module = program.module().to(self._device)
        names = json.loads(extra[TENSORS])
        nodes = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
        signature = program.graph_signature
        self.inputs, self.outputs = (
            {name: self._tensor_type(nodes[node]) for name, node in zip(names[side], used, strict=True)}
            for side, used in (("inputs", signature.user_inputs), ("outputs", signature.user_outputs))
        )

    def run(
        self, feed: Mapping[str, Array], outputs: Sequence[str] | None = None, *, shrink: bool = False
    ) -> dict[str, Array]:
        with self._torch.inference_mode():
            given = [
                self._torch.from_numpy(np.ascontiguousarray(feed[name])).to(self._device)
                for name in self.inputs
            ]
            made = self._module(*given)
        tensors = made if isinstance(made, tuple | list) else (made,)
        results = dict(zip(self.outputs, (tensor.cpu().numpy() for tensor in tensors), strict=True))
        if shrink and self._device.type == "cuda":
            self._torch.cuda.empty_cache()
        return results if outputs is None else {name: results[name] for name in outputs}

    def _tensor_type(self, value: Any) -> TensorType:
        dtype = self._torch.empty(0, dtype=value.dtype).numpy().dtype
        return TensorType(dtype, tuple(axis if isinstance(axis, int) else None for axis in value.shape))


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
