"""A model small enough to be built in a moment: one ONNX graph that a test writes, served by a template of its own."""

from pathlib import Path

import numpy as np
import yaml
from onnx import TensorProto, helper, numpy_helper

TEMPLATE = "small"
CONFIG = 'name: "small"\nbackend: "python"\nmax_batch_size: 0\n'


def graph(factor: float = 2.0) -> bytes:
    """x FP32 [N, 3] -> y = factor * x."""
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy")
    constant = numpy_helper.from_array(np.array(factor, np.float32), "factor")
    made = helper.make_graph([node], "small", [x], [y], [constant])
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def repository(directory: Path) -> Path:
    """Write the template and return the repository that holds it."""
    code = directory / TEMPLATE / "1"
    code.mkdir(parents=True)
    (directory / TEMPLATE / "config.pbtxt").write_text(CONFIG)
    (code / "model.py").write_text("# serves y\n")
    return directory


def weights(directory: Path, factor: float = 2.0) -> Path:
    """Write what an operator brings, and return where."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(graph(factor))
    return directory


def entry(**changes: object) -> dict[str, object]:
    """The catalogue entry, with changes."""
    return {
        "name": "mine",
        "title": "A model of one's own",
        "family": "small",
        "task": "denoise",
        "template": TEMPLATE,
        "source": {
            "kind": "operator",
            "layout": "files",
            "hub": "somebody/something",
            "files": [{"path": "model.onnx"}],
        },
        "licence": {"spdx": "MIT", "commercial_use": True, "attribution": "nobody"},
        "converter": "onnx",
        "optional": True,
        "precisions": ["fp32", "fp16"],
        "memory_mib": 10,
    } | changes


def add(home: Path, **changes: object) -> str:
    """Make it an entry of a home's own catalogue; returns its name."""
    told = entry(**changes)
    path = home / "catalogue" / f"{told['name']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(told))
    return str(told["name"])
