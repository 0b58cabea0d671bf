"""What a graph becomes before an engine is built of it, run in ONNX Runtime and in ONNX's own reference evaluator."""

from collections import Counter

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from services.models.entry import Precision
from services.models.parity import ParityError, difference, recording
from services.models.tensorrt.cast import CastError, lower
from services.models.tensorrt.graph_file import WeightError, read_graph, stored_values, write_graph
from services.models.tensorrt.plain import PlainError, is_plain, make_plain
from services.models.tensorrt.precision import tolerance
from services.models.tensorrt.prepare import prepare
from tests.models.engine_graphs import feed, node, small_network, value, write_build


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return write_build(tmp_path_factory.mktemp("build") / "digest")


def silent(stage):
    pass


def run(path, given):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(str(path), options).run(None, given)[0]


def lowered(directory, keep=frozenset()):
    """The small network in float16 with its converted weights, and which these are."""
    model = small_network()
    weights = lower(model, Precision.FP16, keep)
    write_graph(model, stored_values(directory), directory / "lowered.onnx", weights)
    return onnx.load(directory / "lowered.onnx"), weights


def types_of(model):
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True).graph
    return {each.name: each.type.tensor_type.elem_type for each in inferred.value_info}


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16, Precision.INT8, Precision.FP8])
def test_a_lowered_graph_computes_the_same_within_its_precision(build, tmp_path, precision):
    kept = recording(build, "net")
    made = prepare(build / "1" / "net.onnx", precision, kept, tmp_path, silent)
    if precision is Precision.BF16:  # ONNX Runtime has no bfloat16 convolution on the CPU
        actual = ReferenceEvaluator(str(made)).run(None, feed())[0]
    else:
        actual = run(made, feed())
    assert actual.dtype == np.float32
    error = difference(actual, kept.expected["enlarged"])
    # Some rounding must show, or nothing was lowered at all.
    assert 1e-6 < error <= tolerance(precision, kept.tolerance)


def test_fp32_is_the_served_graph_itself(build, tmp_path):
    source = build / "1" / "net.onnx"
    assert prepare(source, Precision.FP32, None, tmp_path, silent) == source
    assert list(tmp_path.iterdir()) == []


def test_what_would_overflow_stays_in_float32_and_the_rest_does_not(tmp_path):
    model, weights = lowered(tmp_path)
    types = types_of(model)
    assert {types[name] for name in ("squares", "mean", "guarded", "deviation")} == {TensorProto.FLOAT}
    low = {f"{name}.float16" for name in ("wide", "normed", "kept", "deep", "rectified", "large")}
    assert {types[name] for name in low} == {TensorProto.FLOAT16}
    # An exponent is read in float32, and Resize declares its scales so.
    assert set(weights) == {"w1", "b1", "w2", "w3", "low"}
    assert [output.type.tensor_type.elem_type for output in model.graph.output] == [TensorProto.FLOAT]


def test_nodes_can_be_kept_by_name(tmp_path):
    model, weights = lowered(tmp_path, frozenset({"deep_node"}))
    assert "w2" not in weights
    assert types_of(model)["deep"] == TensorProto.FLOAT


def test_a_mask_and_an_epsilon_survive_but_a_large_weight_is_refused(tmp_path):
    tensors = {
        "mask": np.array(-1e9, np.float32),
        "epsilon": np.array(1e-12, np.float32),
        "none": np.array(0, np.float32),
    }
    names = " ".join(tensors)
    graph = helper.make_graph(
        [node("Sum", f"x {names}", "y")],
        "sum",
        [value("x", 2)],
        [value("y", 2)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    types = lower(model, Precision.FP16)
    write_graph(model, stored_values(tmp_path), tmp_path / "sum.onnx", types)
    written = {
        each.name: numpy_helper.to_array(each) for each in onnx.load(tmp_path / "sum.onnx").graph.initializer
    }
    assert {name: array.dtype for name, array in written.items()} == dict.fromkeys(
        tensors, np.dtype(np.float16)
    )
    assert (written["mask"], written["none"]) == (np.float16(-65504), 0)
    assert 0 < written["epsilon"] < 1e-7

    large = helper.make_tensor("large", TensorProto.FLOAT, [2], [1.0, 7e4])
    model.graph.initializer.append(large)
    with pytest.raises(
        WeightError, match=r"weight large: its largest value, 7e\+04, is beyond FLOAT16; build this"
    ):
        write_graph(model, stored_values(tmp_path), tmp_path / "sum.onnx", {"large": TensorProto.FLOAT16})


def test_weights_beside_the_graph_are_read_and_written_there(build, tmp_path):
    model = small_network()
    onnx.save(
        model, tmp_path / "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0
    )
    half = tmp_path / "half"
    half.mkdir()
    made = prepare(tmp_path / "net.onnx", Precision.FP16, None, half, silent)
    external = {
        each.name
        for each in onnx.load(made, load_external_data=False).graph.initializer
        if each.external_data
    }
    assert external == {"w2"}  # the others are small
    np.testing.assert_array_equal(run(made, feed()), run(_prepared(build, tmp_path / "inline"), feed()))


def _prepared(build, scratch):
    scratch.mkdir()
    return prepare(build / "1" / "net.onnx", Precision.FP16, None, scratch, silent)


def test_codes_are_stored_in_place_of_weights(build, tmp_path):
    made = prepare(build / "1" / "net.onnx", Precision.INT8, recording(build, "net"), tmp_path, silent)
    initializers = {each.name: each for each in onnx.load(made).graph.initializer}
    assert "w2" not in initializers
    codes = numpy_helper.to_array(initializers["w2.codes.0"])
    assert (codes.dtype, codes.shape, int(np.abs(codes).max())) == (np.int8, (16, 16, 3, 3), 127)
    assert numpy_helper.to_array(initializers["w2.scale.0"]).shape == (16,)
    # The first and last convolutions have fewer weights than are worth it.
    kinds = Counter(each.op_type for each in onnx.load(made).graph.node)
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (1, 2)


def test_a_quantised_graph_that_is_too_far_off_is_refused_before_anything_is_built(
    build, tmp_path, monkeypatch
):
    monkeypatch.setattr("services.models.tensorrt.prepare.tolerance", lambda precision, recorded: 1e-6)
    with pytest.raises(
        ParityError, match=r"net: in int8 it differs from ONNX reference by .*, more than 1e-06, before"
    ):
        prepare(build / "1" / "net.onnx", Precision.INT8, recording(build, "net"), tmp_path, silent)
    assert not list((build / "1").glob(".*"))


def test_quantising_needs_recorded_inputs(build, tmp_path):
    with pytest.raises(ParityError, match="net: int8 needs recorded inputs to calibrate on"):
        prepare(build / "1" / "net.onnx", Precision.INT8, None, tmp_path, silent)


def microsoft(kind, inputs, output, **attributes):
    return helper.make_node(
        kind, inputs.split(), [output], name=f"{output}_node", domain="com.microsoft", **attributes
    )


def fused(nodes, inputs, output, weights=()):
    graph = helper.make_graph(
        nodes, "fused", inputs, [output], [numpy_helper.from_array(each, name) for name, each in weights]
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)


KERNEL = np.random.default_rng(2).standard_normal((4, 4, 3, 3)).astype(np.float32)
SEQUENCE = [value("x", 2, 4, 5, 6)]
FUSED = {
    "convolution": [
        microsoft("FusedConv", "x k", "y", activation="LeakyRelu", activation_params=[0.2], pads=[1] * 4)
    ],
    "bounded convolution": [
        microsoft("FusedConv", "x k", "y", activation="Clip", activation_params=[0.0, 6.0], pads=[1] * 4)
    ],
    "convolution and sum": [
        microsoft("FusedConv", "x k", "c", activation="Relu", pads=[1] * 4),
        helper.make_node(
            "FusedConv", ["c", "k", "", "x"], ["y"], domain="com.microsoft", activation="Relu", pads=[1] * 4
        ),
    ],
    "products in a row": [
        microsoft("FusedMatMul", "x x", "p", transB=1, alpha=0.125),
        microsoft("FusedMatMul", "p x", "q", alpha=1.0),
        microsoft("FusedMatMul", "q q", "y", transA=1),
    ],
    "gates": [microsoft("BiasGelu", "x b", "g"), microsoft("QuickGelu", "g", "y", alpha=1.0)],
}


@pytest.mark.parametrize("nodes", FUSED.values(), ids=FUSED)
def test_onnx_runtime_s_own_operators_become_standard_ones(nodes, tmp_path):
    model = fused(
        nodes, SEQUENCE, value("y", None, None, None, None), [("k", KERNEL), ("b", KERNEL[0, 0, :2].ravel())]
    )
    x = np.random.default_rng(3).standard_normal((2, 4, 5, 6)).astype(np.float32)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    assert not is_plain(model)
    make_plain(model)
    assert is_plain(model)
    onnx.checker.check_model(model, full_check=True)
    actual = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_parts_of_a_split_are_sliced():
    split = helper.make_node("SplitToSequence", ["x", "lengths"], ["parts"], axis=-1, name="split")
    nodes = [
        split,
        *(node("SequenceAt", f"parts {index}", part) for index, part in (("zero", "a"), ("one", "b"))),
    ]
    weights = [("lengths", np.array([2, 4])), ("zero", np.array(0)), ("one", np.array(1))]
    graph = helper.make_graph(
        [*nodes, node("ReduceMax", "a", "c", keepdims=0), node("Mul", "b c", "y")],
        "parts",
        [value("x", "n", 6)],
        [value("y", "n", 4)],
        [numpy_helper.from_array(each, name) for name, each in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    x = np.random.default_rng(4).standard_normal((3, 6)).astype(np.float32)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    make_plain(model)
    assert Counter(each.op_type for each in model.graph.node)["Slice"] == 2
    np.testing.assert_array_equal(
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0], expected
    )


def test_an_unknown_operator_is_named():
    model = fused([microsoft("SkipLayerNormalization", "x x x x", "y")], SEQUENCE, value("y", 2, 4, 5, 6))
    with pytest.raises(
        PlainError, match=r"node y_node \(com\.microsoft\.SkipLayerNormalization\): only ONNX Runtime"
    ):
        make_plain(model)
    model.graph.node.append(node("Relu", "y", "z"))
    del model.graph.output[:]
    with pytest.raises(CastError, match=r"node z_node \(Relu\): the type of its input 'y' cannot be told"):
        lower(model, Precision.FP16)


@pytest.mark.parametrize("component", ["compact", "x4plus-anime"])
def test_real_esrgan_in_half_precision(model_repository, tmp_path, component):
    source = model_repository / "upscale_realesrgan" / "1" / f"{component}.onnx"
    made = prepare(source, Precision.FP16, None, tmp_path, silent)
    model = read_graph(made)
    assert is_plain(model)
    assert made.with_name(made.name + ".data").stat().st_size < 0.6 * _size(source)
    given = {"image": np.random.default_rng(5).random((1, 3, 24, 20), dtype=np.float32)}
    assert 0 < difference(run(made, given), run(source, given)) <= tolerance(Precision.FP16, 0)


def _size(graph):
    beside = graph.with_name(graph.name + ".data")
    return graph.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)


def test_bfloat16_weights_are_rounded_to_nearest(tmp_path):
    model = small_network()
    original = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    write_graph(model, stored_values(tmp_path), tmp_path / "net.onnx", {"w2": TensorProto.BFLOAT16})
    written = {each.name: each for each in onnx.load(tmp_path / "net.onnx").graph.initializer}
    array = numpy_helper.to_array(written["w2"])
    np.testing.assert_array_equal(array, original["w2"].astype(ml_dtypes.bfloat16))
