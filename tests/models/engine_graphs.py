"""Small graphs with what makes precision and engines hard, for the tests of both; weights are drawn, not trained."""

import numpy as np
import onnx
import onnx.reference
from onnx import TensorProto, helper, numpy_helper

from services.models.parity import record

CHANNELS = 16


def value(name, *shape, element=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=f"{output}_node", **attributes)


def small_network():
    """Two convolutions around a norm spelt out (whose squares leave float16's range), a resize and a masked sum.

    image [n, 3, h, w] and mask [n] INT64 -> enlarged [n, 3, 2h, 2w].
    """
    generator = np.random.default_rng(0)

    def drawn(*shape):
        return generator.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]) or 1).astype(
            np.float32
        )

    weights = {
        "w1": drawn(CHANNELS, 3, 3, 3) * 400,
        "b1": drawn(CHANNELS),
        "w2": drawn(CHANNELS, CHANNELS, 3, 3),
        "w3": drawn(3, CHANNELS, 3, 3),
        "two": np.array(2, np.float32),
        "epsilon": np.array(1e-5, np.float32),
        "low": np.array(-1e9, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    nodes = [
        node("Conv", "image w1 b1", "wide", pads=[1] * 4),
        node("Pow", "wide two", "squares"),
        node("ReduceMean", "squares axes", "mean"),
        node("Add", "mean epsilon", "guarded"),
        node("Sqrt", "guarded", "deviation"),
        node("Div", "wide deviation", "normed"),
        node("Cast", "mask", "masked", to=TensorProto.FLOAT),
        node("Mul", "masked low", "bias"),
        node("Clip", "bias", "bounded"),
        node("HardSigmoid", "bounded", "gate"),
        node("Constant", "", "places", value=numpy_helper.from_array(np.array([1, 2, 3]))),
        node("Unsqueeze", "gate places", "gates"),
        node("Mul", "normed gates", "kept"),
        node("Conv", "kept w2", "deep", pads=[1] * 4),
        node("Relu", "deep", "rectified"),
        helper.make_node("Resize", ["rectified", "", "scales"], ["large"], name="large_node", mode="linear"),
        node("Conv", "large w3", "enlarged", pads=[1] * 4),
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([1, 2, 3]), "axes"))
    graph = helper.make_graph(
        nodes,
        "small",
        [value("image", "n", 3, "h", "w"), value("mask", "n", element=TensorProto.INT64)],
        [value("enlarged", "n", 3, None, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def feed():
    image = np.random.default_rng(1).random((2, 3, 16, 12), dtype=np.float32)
    return {"image": image, "mask": np.array([0, 1])}


def write_build(build, model=None, component="net", tolerance=1e-4):
    """A build of one component whose recording is the ONNX reference evaluator's."""
    (build / "1").mkdir(parents=True)
    model = model or small_network()
    onnx.save(model, build / "1" / f"{component}.onnx")
    names = [output.name for output in model.graph.output]
    results = onnx.reference.ReferenceEvaluator(model).run(None, feed())
    expected = dict(zip(names, results, strict=True))
    record(build / "1", component, feed(), expected, tolerance=tolerance, reference="ONNX reference")
    return build
