"""A TensorRT engine run from Python, for `graph.py`, which chooses it: buffers on the GPU are kept, launches captured.

Needs a GPU, `cuda-bindings`, and the library that built the engine, `tensorrt` or `tensorrt_rtx`, in its very version.
"""

import importlib
import json
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PROMOTED = "promoted.json"
# Sets of input shapes whose buffers and captured launches are kept at once: more than a model has sizes in use.
KEPT_SHAPES = 8


class EngineError(Exception):
    """No engine can be run here; the text says why."""


class ShapeError(ValueError):
    """An input has a shape that the engine was not built for; the text names both."""


class TensorType(NamedTuple):
    """What a tensor holds; as in `graph.py`, since what is copied beside a model imports nothing but its libraries."""

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


def compute_capability(device: int = 0) -> int | None:
    """Return the SM of a GPU, 89 for 8.9; None without it, its driver or the package `cuda-bindings`."""
    try:
        cuda = Cuda(device)
        attributes = cuda.api.cudaDeviceAttr
        major = cuda("DeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMajor, device)
        minor = cuda("DeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMinor, device)
    except (ImportError, RuntimeError):
        return None
    return int(major) * 10 + int(minor)


def place(sm: int, library: str, version: str) -> str:
    """Return the name of a place that engines are promoted for: one kind of GPU, one version of one library."""
    return f"sm{sm} {library} {version}"


def promoted(engines: Path, device: int) -> tuple[Path, str]:
    """Return the plan to run on this GPU, and the library to run it with; `engines` holds those of one component.

    Raises EngineError.
    """
    try:
        plans = json.loads((engines / PROMOTED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        unproved = "none of its engines was found to compute the same (vmesh models verify)"
        raise EngineError(unproved if any(engines.glob("*.plan")) else "no engine was built of it") from None
    sm = compute_capability(device)
    if sm is None:
        raise EngineError("there is no GPU here, or no driver or cuda-bindings to reach it with")
    for target, plan in plans.items():
        library = target.split()[1]
        if target == place(sm, library, version(library)):
            return engines / plan, library
    raise EngineError(
        f"its engines are for {', '.join(plans)}; here is sm{sm}, and none of these versions with it"
    )


def version(library: str) -> str:
    """Return the version of an installed library; empty when it cannot be imported."""
    try:
        return str(importlib.import_module(library).__version__)
    except (ImportError, OSError, AttributeError):
        return ""


class Cuda:
    """CUDA's runtime for one device, raising RuntimeError where it returns an error. Imports `cuda-bindings`."""

    def __init__(self, device: int) -> None:
        self.api: Any = importlib.import_module("cuda.bindings.runtime")
        self("SetDevice", device)

    def __call__(self, function: str, *arguments: Any) -> Any:
        """Call `cuda<function>` and return its one result, if it has one."""
        status, *results = getattr(self.api, f"cuda{function}")(*arguments)
        if status != self.api.cudaError_t.cudaSuccess:
            raise RuntimeError(f"cuda{function}: {status.name}")
        return results[0] if results else None


class _Shaped:
    """An engine made ready for one set of input shapes; `launch` is what was captured of it, once there is that."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.warm = False
        self.buffers: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.launch: Any = None


class Engine:
    """A `graph.Graph` on the GPU.

    A captured launch refers to the state of its execution context, so each set of shapes has a context of its own. All
    of them share one scratch memory: one runs at a time, in the order of the calls.
    """

    runtime = "tensorrt"

    def __init__(self, plan: Path, library: str, device: int) -> None:
        """Open a plan. Raises EngineError when the library cannot, RuntimeError when the GPU's memory is short."""
        self._trt: Any = importlib.import_module(library)
        self._device, self._cuda = device, Cuda(device)
        self._runtime = self._trt.Runtime(self._trt.Logger(self._trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise EngineError(f"{plan.name} cannot be opened by {library} {version(library)}; build it again")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        given = [name for name in names if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        self.inputs = {name: self._tensor_type(name) for name in given}
        self.outputs = {name: self._tensor_type(name) for name in names if name not in given}
        self._stream = self._cuda("StreamCreateWithFlags", self._cuda.api.cudaStreamNonBlocking)
        self._scratch_bytes = int(self._engine.device_memory_size_v2)
        self._scratch: Any = self._cuda("Malloc", max(self._scratch_bytes, 1))
        self._shaped: OrderedDict[tuple[tuple[int, ...], ...], _Shaped] = OrderedDict()
        self._lock = Lock()
        self._kernels = plan.with_suffix(".kernels")
        self._config, self._cache = self._configure()

    def run(
        self, feed: Mapping[str, Array], outputs: Sequence[str] | None = None, *, shrink: bool = False
    ) -> dict[str, Array]:
        """See `graph.Graph`. Raises ShapeError."""
        arrays = {name: np.ascontiguousarray(feed[name], kind.dtype) for name, kind in self.inputs.items()}
        results: dict[str, Array] = {}
        with self._lock:
            self._cuda("SetDevice", self._device)  # a thread's own
            shaped = self._ready({name: array.shape for name, array in arrays.items()})
            for name, array in arrays.items():
                self._copy(shaped.buffers[name], array.ctypes.data, array.nbytes, "HostToDevice")
            self._launch(shaped)
            for name in self.outputs if outputs is None else outputs:
                result = results[name] = np.empty(shaped.shapes[name], self.outputs[name].dtype)
                self._copy(result.ctypes.data, shaped.buffers[name], result.nbytes, "DeviceToHost")
            self._cuda("StreamSynchronize", self._stream)
            while shrink and self._shaped:
                self._drop_oldest()
        return results

    def _tensor_type(self, name: str) -> TensorType:
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        return TensorType(
            dtype, tuple(None if axis < 0 else axis for axis in self._engine.get_tensor_shape(name))
        )

    def _configure(self) -> tuple[Any, Any]:
        """What contexts are made with: (None, None) where the library has no such settings, as `tensorrt` 10."""
        if not hasattr(self._engine, "create_runtime_config"):
            return None, None
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if not hasattr(config, "cuda_graph_strategy"):
            return config, None
        # This library captures and replays by itself, and compiles kernels when they are first run: keep them.
        config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        cache = config.create_runtime_cache()
        if self._kernels.is_file():
            cache.deserialize(
                self._kernels.read_bytes()
            )  # refused, and left empty, if another driver wrote it
        config.set_runtime_cache(cache)
        return config, cache

    def _ready(self, shapes: dict[str, tuple[int, ...]]) -> _Shaped:
        key = tuple(shapes.values())
        if key in self._shaped:
            self._shaped.move_to_end(key)
            return self._shaped[key]
        while len(self._shaped) >= KEPT_SHAPES:
            self._drop_oldest()
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(self._config or strategy)
        if context is None:
            raise RuntimeError("TensorRT made no execution context; its log says why")
        shaped = _Shaped(context)
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise ShapeError(f"{name}: the engine was not built for the shape {list(shape)}")
        context.set_device_memory(int(self._scratch), self._scratch_bytes)
        try:
            for name, kind in {**self.inputs, **self.outputs}.items():
                shape = shaped.shapes[name] = tuple(context.get_tensor_shape(name))
                if min(shape, default=0) < 0:
                    raise RuntimeError(
                        f"{name}: its shape depends on values, so no buffer can be made ready for it"
                    )
                shaped.buffers[name] = self._cuda("Malloc", max(math.prod(shape) * kind.dtype.itemsize, 1))
                context.set_tensor_address(name, int(shaped.buffers[name]))
        except RuntimeError:
            self._free(shaped)
            raise
        self._shaped[key] = shaped
        return shaped

    def _launch(self, shaped: _Shaped) -> None:
        if shaped.launch is not None:
            self._cuda("GraphLaunch", shaped.launch, self._stream)
            return
        self._enqueue(shaped)
        if shaped.warm:
            return
        # A first run does what a capture may not, such as loading kernels, or compiling them.
        self._cuda("StreamSynchronize", self._stream)
        shaped.warm = True
        if self._cache is not None:
            self._keep_kernels()
        else:
            shaped.launch = self._capture(shaped)

    def _capture(self, shaped: _Shaped) -> Any:
        mode = self._cuda.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._cuda("StreamBeginCapture", self._stream, mode)
        try:
            self._enqueue(shaped)
        finally:
            captured = self._cuda("StreamEndCapture", self._stream)
        launch = self._cuda("GraphInstantiate", captured, 0)
        self._cuda("GraphDestroy", captured)
        return launch

    def _enqueue(self, shaped: _Shaped) -> None:
        if not shaped.context.execute_async_v3(int(self._stream)):
            raise RuntimeError("TensorRT did not run the engine; its log says why")

    def _copy(self, to: Any, source: Any, size: int, direction: str) -> None:
        kind = getattr(self._cuda.api.cudaMemcpyKind, f"cudaMemcpy{direction}")
        self._cuda("MemcpyAsync", to, source, size, kind, self._stream)

    def _keep_kernels(self) -> None:
        compiled = bytes(self._cache.serialize())
        if self._kernels.is_file() and self._kernels.stat().st_size == len(compiled):
            return
        try:
            fresh = self._kernels.with_name(f".{self._kernels.name}")
            fresh.write_bytes(compiled)
            fresh.replace(self._kernels)
        except OSError:
            return  # a read-only repository: the next process compiles again

    def close(self) -> None:
        """Give the GPU's memory back. The engine cannot be run after it."""
        while self._shaped:
            self._drop_oldest()
        if self._scratch is not None:
            self._cuda("Free", self._scratch)
            self._cuda("StreamDestroy", self._stream)
            self._scratch = None

    def __del__(self) -> None:
        with suppress(Exception):  # half made, or the interpreter is going down
            self.close()

    def _drop_oldest(self) -> None:
        self._free(self._shaped.popitem(last=False)[1])

    def _free(self, shaped: _Shaped) -> None:
        if shaped.launch is not None:
            self._cuda("GraphExecDestroy", shaped.launch)
        for buffer in shaped.buffers.values():
            self._cuda("Free", buffer)
