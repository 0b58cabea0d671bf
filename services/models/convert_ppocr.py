"""PP-OCR's graphs as published -> the same graphs, optimised, and the recogniser's characters in a file of their own."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from services.models import parity
from services.models.converters import Report
from services.models.entry import Model, PackageSource, Task
from services.models.optimise import optimise

COMPONENT = "model"
CHARACTERS = "characters.txt"
METADATA = "character"  # where the published recogniser keeps them, one a line
REFERENCE = f"ONNX Runtime {onnxruntime.__version__}, not optimised"
# Free axes that both networks can halve as often as they do.
SHAPES = {Task.TEXT_DETECTION: (1, 3, 64, 96), Task.TEXT_RECOGNITION: (2, 3, 48, 96)}


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write `model.onnx`, held against the published graph, and `characters.txt` of a recogniser. Raises ParityError."""
    if not isinstance(model.source, PackageSource):
        raise ValueError(f"{model.name}: PP-OCR is read from a package")
    published = sources / Path(model.source.files[0].path).name  # both networks lie in one wheel
    original = published.read_bytes()
    report(f"optimising {published.name}")
    optimise(original, destination / f"{COMPONENT}.onnx")
    report(f"checking {COMPONENT}")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(original, options, providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    values = np.random.default_rng(0).uniform(-1, 1, SHAPES[model.task]).astype(np.float32)
    feed = {given.name: values}
    expected = {made.name: np.asarray(session.run([made.name], feed)[0])}
    tolerance = model.tolerance_of(COMPONENT)
    parity.record(destination, COMPONENT, feed, expected, tolerance=tolerance, reference=REFERENCE)
    if model.task is Task.TEXT_RECOGNITION:
        (destination / CHARACTERS).write_text(characters(onnx.load_from_string(original)), encoding="utf-8")


def characters(graph: onnx.ModelProto) -> str:
    """Return the characters that a recogniser knows, one a line. Raises ValueError when it does not say."""
    for entry in graph.metadata_props:
        if entry.key == METADATA:
            return entry.value.removesuffix("\n") + "\n"
    raise ValueError(f"the graph's metadata has no {METADATA!r}")
