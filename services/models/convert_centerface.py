"""CenterFace as published -> a graph for pictures of any size, with named maps.

The published file fixes its picture to 32 × 32, ten at a time, which nothing inside depends on, and offers every
weight as an input that a caller may replace, which keeps runtimes from folding any of them.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from services.models import parity
from services.models.converters import Report
from services.models.entry import Model
from services.models.optimise import optimise, run_as_written

COMPONENT = "model"
INPUT = "image"
OUTPUTS = ("heatmap", "scale", "offset", "landmarks")
REFERENCE = f"ONNX Runtime {onnxruntime.__version__}, not optimised"
SHARE = "one_quarter"  # of the picture's sides: what the maps have


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write `model.onnx`, held against the published graph on the one shape that it takes. Raises ParityError."""
    (published,) = sources.glob("*.onnx")
    report(f"freeing the sides of {published.name}")
    original = published.read_bytes()
    optimise(free(onnx.load_from_string(original)).SerializeToString(), destination / f"{COMPONENT}.onnx")
    report(f"checking {COMPONENT}")
    feed, expected = run_as_written(original)
    (values,) = feed.values()
    parity.record(
        destination,
        COMPONENT,
        {INPUT: np.asarray(values, np.float32)},
        dict(zip(OUTPUTS, expected.values(), strict=True)),
        tolerance=model.tolerance_of(COMPONENT),
        reference=REFERENCE,
    )


def free(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rename the picture and the maps, free their axes, and make the weights constants; changes `model`."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    (picture,) = [value for value in graph.input if value.name not in weights]
    names = {picture.name: INPUT} | {
        value.name: name for value, name in zip(graph.output, OUTPUTS, strict=True)
    }
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    picture.name = INPUT
    _free_axes(picture, ("pictures", None, "height", "width"))
    for value in graph.output:
        value.name = names[value.name]
        _free_axes(value, ("pictures", None, f"{SHARE}_height", f"{SHARE}_width"))
    del graph.input[:]
    graph.input.append(picture)
    del graph.value_info[:]
    return model


def _free_axes(value: onnx.ValueInfoProto, names: tuple[str | None, ...]) -> None:
    for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
        if name is not None:
            axis.dim_param = name
