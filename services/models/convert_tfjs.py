"""TensorFlow.js graph models -> ONNX, held against a plain numpy run of the same graph.

Neither TensorFlow nor TensorFlow.js takes part. The graph is made for one size of image, of which a profile may leave
the number free: then all that computes shapes depends on constants alone, and is computed here by the table that the
reference runs on. (With free sizes ONNX Runtime spent four minutes on loading MAXIM's 36,000 nodes.) Everything else
becomes ONNX nodes through `services.models.tfjs_onnx.EMITTERS`; an operation that is not in it is an error that names it.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from services.models import parity
from services.models.converters import Report
from services.models.entry import Model
from services.models.optimise import optimise
from services.models.tfjs import TfjsGraph, read_tfjs
from services.models.tfjs_files import WRAPPED
from services.models.tfjs_fusion import fuse
from services.models.tfjs_numpy import evaluator, run_reference
from services.models.tfjs_onnx import Emission, emitter

OPSET = 20
REFERENCE = "the same graph in numpy, single operations"


def to_onnx(source: TfjsGraph, shape: tuple[int, ...], *, batches: bool = False) -> onnx.ModelProto:
    """Images of `shape` (N, H, W, channels) fp32 in under the graph's own name, one value out. Raises TfjsError.

    With `batches` the number of images is free, which no graph can have that computes with its input's shape.
    """
    make, nodes = Emission(source), {node.name: node for node in source.nodes}
    (image,), (output,) = source.inputs, source.outputs
    for node in source.nodes:
        if node.op == "Placeholder":
            continue
        if node.op == "Shape" and node.inputs == (image,) and not batches:
            make.known[node.name] = np.array(shape, np.int32)
        elif all(name in make.known for name in node.inputs):
            make.known[node.name] = np.asarray(evaluator(node)(*(make.known[name] for name in node.inputs)))
        else:
            whole = fuse(node, nodes, make.known)
            emitter(whole)(make, whole, [make.value(name) for name in whole.inputs])
            make.names[node.name] = node.name
    make.graph.nodes = _used(make.graph.nodes, output)
    return make.graph.model(
        "tfjs",
        [
            helper.make_tensor_value_info(
                image, TensorProto.FLOAT, ("images", *shape[1:]) if batches else shape
            )
        ],
        helper.make_tensor_value_info(output, TensorProto.FLOAT, None),
        OPSET,
        ir_version=9,
    )


def _used(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """Leave out what nothing takes from any more, such as the inside of what was fused."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write the one component that `outputs` names, for the size its profile says. Raises TfjsError and ParityError."""
    ((component, stem),) = model.outputs.items()
    report("reading the graph")
    plain, wrapped = sources / f"{stem}.json", sources / f"{stem}{WRAPPED}"
    source = read_tfjs(wrapped if wrapped.is_file() else plain)
    (image,) = source.inputs
    profile = model.profiles[component][image]
    shape = profile.opt
    report("converting")
    converted = to_onnx(source, shape, batches=profile.min[0] != profile.max[0])
    optimise(converted.SerializeToString(), destination / f"{component}.onnx")
    report("checking")
    feed = {image: np.random.default_rng(0).random(shape, dtype=np.float32)}
    expected = run_reference(source, feed)
    tolerance = model.tolerance_of(component)
    parity.record(destination, component, feed, expected, tolerance=tolerance, reference=REFERENCE)
