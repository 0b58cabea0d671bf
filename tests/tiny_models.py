"""Models of a few lines for the real Triton, with entries in a catalogue of their own: to load, use, starve and kill.

Each takes `work` FP32 [1], seconds to be busy, and `allocate` INT32 [1], MiB to allocate meanwhile (-1 raises
MemoryError as a library would that knows no better), and answers `pid` INT64 [1], its process.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from services.models.catalogue import own_directory
from services.models.presence import served_repository

CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 0
input [ {{ name: "work" data_type: TYPE_FP32 dims: [ 1 ] }}, {{ name: "allocate" data_type: TYPE_INT32 dims: [ 1 ] }} ]
output [ {{ name: "pid" data_type: TYPE_INT64 dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
{parameters}
"""
CODE = """
import json
import os
import resource
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

MEBIBYTE = 1 << 20


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        given = {name: value["string_value"] for name, value in config["parameters"].items()}
        with Path(given["journal"]).open("a") as journal:
            journal.write(f"{args['model_name']}\\n")
        time.sleep(float(given.get("load_seconds", 0)))
        self.ballast = np.ones(int(given.get("ballast_mib", 0)) * MEBIBYTE, np.uint8)
        if "memory_limit_mib" in given:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limit = used + int(given["memory_limit_mib"]) * MEBIBYTE
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        work, allocate = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0] for name in ("work", "allocate")
        )
        if allocate < 0:
            raise MemoryError
        try:
            taken = np.ones(int(allocate) * MEBIBYTE, np.uint8)
        except MemoryError as error:
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(f"out of memory: {error}", pb_utils.TritonError.UNAVAILABLE)
            )
        time.sleep(float(work))
        del taken
        return pb_utils.InferenceResponse([pb_utils.Tensor("pid", np.array([os.getpid()], np.int64))])
"""


def write(home: Path, name: str, *, memory_mib: int = 64, pinned: bool = False, **parameters: float) -> None:
    """Put a model into the repository and the catalogue of a home.

    `parameters`: load_seconds, ballast_mib (held from the start), memory_limit_mib (address space beyond the start's).
    """
    version = served_repository(home) / name / "1"
    version.mkdir(parents=True)
    given: Mapping[str, object] = {"journal": journal(home), **parameters}
    text = "\n".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}' for key, value in given.items()
    )
    (version.parent / "config.pbtxt").write_text(CONFIG.format(name=name, parameters=text))
    (version / "model.py").write_text(CODE)
    catalogue = own_directory(home)
    catalogue.mkdir(parents=True, exist_ok=True)
    entry = {
        "name": name,
        "title": "A model for tests",
        "family": "tiny",
        "task": "upscale",
        "source": {"kind": "none"},
        "licence": {"spdx": "Apache-2.0", "commercial_use": True, "attribution": "none"},
        "converter": "copy",
        "precisions": ["fp32"],
        "memory_mib": memory_mib,
        "residency": "pinned" if pinned else "on-demand",
        "optional": True,
    }
    (catalogue / f"{name}.yaml").write_text(yaml.safe_dump(entry))


def journal(home: Path) -> Path:
    """The file that every loading of a tiny model writes its name to."""
    return home / "loadings"


def loadings(home: Path, name: str) -> int:
    """How often a model was loaded."""
    path = journal(home)
    return path.read_text().split().count(name) if path.exists() else 0


def feed(work: float = 0.0, allocate: int = 0) -> dict[str, "np.ndarray[tuple[int], np.dtype[np.generic]]"]:
    """The inputs of a request."""
    return {"work": np.array([work], np.float32), "allocate": np.array([allocate], np.int32)}
