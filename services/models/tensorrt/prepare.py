"""From the graph that is served to the one an engine is built of: standard operators, in the precision asked for."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx.version_converter
import onnxruntime

from services.models.entry import Precision
from services.models.parity import ParityError, Recording, compare
from services.models.tensorrt.cast import LOW, lift_constants, lower
from services.models.tensorrt.graph_file import Values, read_graph, stored_values, write_graph
from services.models.tensorrt.plain import is_plain, make_plain
from services.models.tensorrt.precision import tolerance
from services.models.tensorrt.quantise import CODES, activation_ranges, quantise

# From 19 on, scales may be float16 and codes float8; 21 is what the converter reaches from older graphs without loss.
QUANTISED_OPSET = 21
Report = Callable[[str], None]


def prepare(
    source: Path, precision: Precision, recording: Recording | None, scratch: Path, report: Report
) -> Path:
    """Return the graph to build from: `source` itself, or one made of it in `scratch`, an empty directory.

    A quantised graph is calibrated on the recording and held against its reference at once, in ONNX Runtime: no engine
    could do better. Raises ParityError when it fails that, PlainError, CastError and WeightError.
    """
    model = read_graph(source)
    if precision is Precision.FP32 and is_plain(model):
        return source
    make_plain(model)
    values = stored_values(source.parent)
    made = scratch / source.name
    if precision in CODES:
        if recording is None:
            raise ParityError(
                f"{source.stem}: {precision} needs recorded inputs to calibrate on; build the model again"
            )
        report(f"calibrating {source.stem}")
        model, values = _quantised(model, source, precision, recording, scratch)
    # What is around codes is float16, which every GPU that has them computes in.
    types = (
        {} if precision is Precision.FP32 else lower(model, precision if precision in LOW else Precision.FP16)
    )
    write_graph(model, values, made, types)
    if recording is not None and precision in CODES:
        _hold_against_reference(made, precision, recording)
    return made


def _quantised(
    model: onnx.ModelProto, source: Path, precision: Precision, recording: Recording, scratch: Path
) -> tuple[onnx.ModelProto, Values]:
    """Return the quantised graph, still in float32 around its codes, and what reads its weights."""
    lift_constants(model)
    with tempfile.TemporaryDirectory(dir=scratch) as probe:
        ranges = activation_ranges(model, source.parent, recording.feed, Path(probe))
    values = quantise(model, stored_values(source.parent), ranges, precision)
    model.ir_version = max(model.ir_version, 10)
    if model.opset_import[0].version >= QUANTISED_OPSET:
        return model, values
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    raised = onnx.version_converter.convert_version(model, QUANTISED_OPSET)
    return raised, lambda tensor: values(tensors.get(tensor.name, tensor))


def _hold_against_reference(graph: Path, precision: Precision, recording: Recording) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Without this it computes in integers of its own choice, which has no float8.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    names = list(recording.expected)
    actual = dict(zip(names, session.run(names, dict(recording.feed)), strict=True))
    allowed = tolerance(precision, recording.tolerance)
    parity = compare(recording, actual, f"ONNX Runtime {onnxruntime.__version__}", allowed)
    if not parity.passed:
        raise ParityError(
            f"{recording.component}: in {precision} it differs from {recording.reference} by {parity.error:.2g}, more "
            f"than {allowed:.2g}, before any engine is built of it: build it in fp16 or bf16"
        )
