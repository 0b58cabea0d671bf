"""Published ONNX graphs -> the same graphs, optimised once here and held against themselves as published."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from services.models import parity
from services.models.converters import Report
from services.models.entry import Model, NoSource, OperatorSource, RandomSource
from services.models.operator_weights import files_of
from services.models.optimise import optimise, run_as_written

REFERENCE = f"ONNX Runtime {onnxruntime.__version__}, not optimised"


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Optimise every `.onnx` of the source's files and copy the rest beside it. Raises ParityError."""
    renamed = {source: built for built, source in model.outputs.items()}
    for source in _files(model, sources):
        if source.suffix != ".onnx":
            shutil.copyfile(source, destination / source.name)
            continue
        component = renamed.get(source.stem, source.stem)
        report(f"optimising {component}")
        optimise(additions(source.read_bytes()), destination / f"{component}.onnx")
        report(f"checking {component}")
        feed, expected = run_as_written(source.read_bytes())
        tolerance = model.tolerance_of(component)
        parity.record(destination, component, feed, expected, tolerance=tolerance, reference=REFERENCE)


def additions(graph: bytes) -> bytes:
    """Write `x - constant` as `x + -constant`, which is the same number.

    ONNX Runtime puts additions and products with constants into the convolution before them, and subtractions not:
    batch normalisation written as (x - mean) * scale + bias stayed three passes over the picture.
    """
    model = onnx.load_from_string(graph)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        tensor = stored.get(node.input[1]) if node.op_type == "Sub" else None
        if tensor is None or not np.issubdtype((values := numpy_helper.to_array(tensor)).dtype, np.floating):
            continue
        node.op_type, node.input[1] = "Add", f"{tensor.name}:negative"
        model.graph.initializer.append(numpy_helper.from_array(np.negative(values), node.input[1]))
    return model.SerializeToString()


def copy(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Copy the source's files as they are; a model without weights has none."""
    for source in _files(model, sources):
        report(f"copying {source.name}")
        shutil.copyfile(source, destination / source.name)


def _files(model: Model, sources: Path) -> list[Path]:
    source = model.source
    if isinstance(source, OperatorSource):
        return files_of(source, sources)
    if isinstance(source, RandomSource | NoSource):
        return []
    return [sources / Path(file.path).name for file in source.files]
