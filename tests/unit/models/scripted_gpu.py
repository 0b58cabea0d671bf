"""A GPU that there is none of here: CUDA's runtime and a TensorRT library, in host memory, with books of every call.

The engine they run computes `doubled` = 2 x, [n, 3]. What it takes from the real interfaces is held against the real
ones in tests/models/test_tensorrt.py, as far as they are installed.
"""

import ctypes
from enum import Enum
from types import SimpleNamespace

import numpy as np


class Status(Enum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2


class Gpu:
    """Memory, one stream that can be captured, and compute capability 8.9."""

    def __init__(self, memory=1 << 20):
        self.free_bytes, self.blocks = memory, {}
        self.calls = []
        self.capturing = None
        self.launches = {}

    def runtime(self):
        """What `import cuda.bindings.runtime` would give."""
        ok = Status.cudaSuccess
        kind = SimpleNamespace(cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out")
        capability = {"major": 8, "minor": 9}
        return SimpleNamespace(
            cudaError_t=Status,
            cudaMemcpyKind=kind,
            cudaStreamNonBlocking=1,
            cudaStreamCaptureMode=SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread"),
            cudaDeviceAttr=SimpleNamespace(
                cudaDevAttrComputeCapabilityMajor="major", cudaDevAttrComputeCapabilityMinor="minor"
            ),
            cudaDeviceGetAttribute=lambda what, device: (ok, capability[what]),
            cudaSetDevice=lambda device: self.note("device", ok),
            cudaMalloc=self.malloc,
            cudaFree=self.free,
            cudaMemcpyAsync=self.copy,
            cudaStreamCreateWithFlags=lambda flags: (ok, 7),
            cudaStreamDestroy=lambda stream: self.note("stream destroyed", ok),
            cudaStreamSynchronize=lambda stream: self.note("synchronise", ok),
            cudaStreamBeginCapture=self.begin,
            cudaStreamEndCapture=self.end,
            cudaGraphInstantiate=self.instantiate,
            cudaGraphDestroy=lambda graph: (ok,),
            cudaGraphLaunch=self.launch,
            cudaGraphExecDestroy=lambda launch: (self.launches.pop(launch), (ok,))[1],
        )

    def note(self, call, status):
        self.calls.append(call)
        return (status,)

    def malloc(self, size):
        if size > self.free_bytes:
            return Status.cudaErrorMemoryAllocation, None
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        self.free_bytes -= size
        return Status.cudaSuccess, ctypes.addressof(block)

    def free(self, address):
        self.free_bytes += len(self.blocks.pop(address))
        return (Status.cudaSuccess,)

    def copy(self, to, source, size, kind, stream):
        assert (to if kind == "in" else source) in self.blocks
        ctypes.memmove(to, source, size)
        return self.note(kind, Status.cudaSuccess)

    def begin(self, stream, mode):
        assert mode == "thread"
        self.capturing = []
        return (Status.cudaSuccess,)

    def end(self, stream):
        captured, self.capturing = self.capturing, None
        return Status.cudaSuccess, captured

    def instantiate(self, graph, flags):
        launch = len(self.calls) + 1000
        self.launches[launch] = graph
        return (*self.note("instantiate", Status.cudaSuccess), launch)

    def launch(self, launch, stream):
        for work in self.launches[launch]:
            work()
        return self.note("launch", Status.cudaSuccess)

    def enqueue(self, work):
        """What TensorRT calls: computed now, or kept for later while the stream is captured."""
        if self.capturing is not None:
            self.capturing.append(work)
        else:
            work()
            self.calls.append("enqueue")


class Context:
    def __init__(self, gpu, longest):
        self.gpu, self.longest, self.shape, self.addresses = gpu, longest, None, {}

    def set_input_shape(self, name, shape):
        assert name == "x"
        self.shape = shape
        return shape[0] <= self.longest

    def set_device_memory(self, address, size):
        assert len(self.gpu.blocks[address]) >= size

    def get_tensor_shape(self, name):
        return self.shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        assert stream == 7
        self.gpu.enqueue(self.compute)
        return True

    def compute(self):
        x, doubled = (
            np.ctypeslib.as_array(
                (ctypes.c_float * int(np.prod(self.shape))).from_address(self.addresses[name])
            )
            for name in ("x", "doubled")
        )
        doubled[:] = 2 * x


class Settings:
    """RTX's runtime settings: it captures by itself, and keeps the kernels it compiled."""

    cuda_graph_strategy = None

    def __init__(self):
        self.cache = None

    def set_execution_context_allocation_strategy(self, strategy):
        assert strategy == "user"

    def create_runtime_cache(self):
        return Kernels()

    def set_runtime_cache(self, cache):
        self.cache = cache


class Kernels:
    def __init__(self):
        self.content = b"compiled"
        self.read = None

    def serialize(self):
        return self.content

    def deserialize(self, content):
        self.read = content
        return True


def library(gpu, *, settings=False, longest=64):
    """What `import tensorrt` would give; with `settings`, what `import tensorrt_rtx` would."""
    engine = SimpleNamespace(
        num_io_tensors=2,
        device_memory_size_v2=4096,
        get_tensor_name=["x", "doubled"].__getitem__,
        get_tensor_mode=lambda name: "in" if name == "x" else "out",
        get_tensor_dtype=lambda name: np.float32,
        get_tensor_shape=lambda name: (-1, 3),
        create_execution_context=lambda how: Context(gpu, longest),
    )
    if settings:
        engine.create_runtime_config = Settings
    logger = type("Logger", (), {"WARNING": 2, "__init__": lambda self, least: None})
    opened = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if plan == b"plan" else None)
    return SimpleNamespace(
        __version__="9.9",
        Logger=logger,
        Runtime=lambda logger: opened,
        TensorIOMode=SimpleNamespace(INPUT="in"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user"),
        CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"),
        nptype=lambda dtype: dtype,
    )
