"""On-demand text-to-image models of a few lines: each picture takes memory, and a process has little of it."""

from pathlib import Path

import yaml

from services.models.catalogue import own_directory
from services.models.presence import served_repository

PICTURE_MIB = 60  # allocated for each picture of a request
LIMIT_MIB = 400  # that a process may allocate beyond what it starts with: six pictures, and not eight
STEP_SECONDS = 0.1

CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 0
model_transaction_policy {{ decoupled: true }}
input [
  {{ name: "prompt" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "negative_prompt" data_type: TYPE_STRING dims: [ 1 ] optional: true }},
  {{ name: "seeds" data_type: TYPE_INT64 dims: [ -1 ] }},
  {{ name: "steps" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "guidance_scale" data_type: TYPE_FP32 dims: [ 1 ] }},
  {{ name: "preview_every" data_type: TYPE_INT32 dims: [ 1 ] optional: true }}
]
output [
  {{ name: "step" data_type: TYPE_INT32 dims: [ 2 ] }},
  {{ name: "preview" data_type: TYPE_UINT8 dims: [ -1, -1, -1, 3 ] }},
  {{ name: "images" data_type: TYPE_UINT8 dims: [ -1, 64, 64, 3 ] }}
]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""
CODE = """
import resource
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

MEBIBYTE = 1 << 20


def tensor(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


class TritonPythonModel:
    def initialize(self, args):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = used + LIMIT_MIB * MEBIBYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            try:
                for outputs in self.paint(request):
                    sender.send(pb_utils.InferenceResponse(outputs))
            except MemoryError as error:
                failure = pb_utils.TritonError(f"out of memory: {error}", pb_utils.TritonError.UNAVAILABLE)
                sender.send(pb_utils.InferenceResponse(error=failure))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def paint(self, request):
        seeds, steps = tensor(request, "seeds"), int(tensor(request, "steps")[0])
        latents = [np.ones(PICTURE_MIB * MEBIBYTE, np.uint8) for _ in seeds]
        nothing = np.zeros((0, 0, 0, 3), np.uint8)
        for k in range(1, steps + 1):
            if request.is_cancelled():
                return
            time.sleep(STEP_SECONDS)
            images = np.zeros((0, 64, 64, 3), np.uint8)
            if k == steps:
                y, x = np.mgrid[0:64, 0:64] * 4
                images = np.stack([np.stack([x, y, x * 0 + seed % 256], -1) for seed in seeds]).astype(np.uint8)
            yield [
                pb_utils.Tensor("step", np.array([k, steps], np.int32)),
                pb_utils.Tensor("preview", nothing),
                pb_utils.Tensor("images", images),
            ]
        del latents
"""


def write(home: Path, name: str, memory_mib: int) -> None:
    """Put a painter into the repository and the catalogue of a home, with the backend that the router finds it by."""
    version = served_repository(home) / name / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(CONFIG.format(name=name))
    constants = f"PICTURE_MIB, LIMIT_MIB, STEP_SECONDS = {PICTURE_MIB}, {LIMIT_MIB}, {STEP_SECONDS}\n"
    (version / "model.py").write_text(constants + CODE)
    backend = {
        "name": f"triton/{name}",
        "kind": "triton",
        "model": name,
        "modality": "text-to-image",
        "remedy": "write it again",
        "defaults": {"steps": 4, "guidance_scale": 1.0},
        "tiers": {"draft": 1, "standard": 1, "high": 1},
        "limits": {"steps": 100, "images": 16},
        "sizes": [{"width": 64, "height": 64}],
        "on_demand": True,
        "by_name": True,
        "concurrency": 2,
        "queue": 16,
        "prior": {"quality": 0.5, "seconds_per_step": STEP_SECONDS},
    }
    (version.parent / "backend.yaml").write_text(yaml.safe_dump(backend))
    entry = {
        "name": name,
        "title": "A painter for tests",
        "family": "tiny",
        "task": "text-to-image",
        "source": {"kind": "none"},
        "licence": {"spdx": "Apache-2.0", "commercial_use": True, "attribution": "none"},
        "converter": "copy",
        "precisions": ["fp32"],
        "memory_mib": memory_mib,
        "sizes": [[64, 64]],
        "optional": True,
    }
    own_directory(home).mkdir(parents=True, exist_ok=True)
    (own_directory(home) / f"{name}.yaml").write_text(yaml.safe_dump(entry))
