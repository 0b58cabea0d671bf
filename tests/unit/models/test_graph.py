import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from services.models.serving.graph import TensorType, is_out_of_memory, load


def save(name, nodes, inputs, outputs, directory, constants=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, directory / f"{name}.onnx")


@pytest.fixture
def directory(tmp_path):
    """Holds `double`: y = 2x, z = 2x + x over [n, 3]."""
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xyz")
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"]), helper.make_node("Add", ["y", "x"], ["z"])]
    save("double", nodes, [x], [y, z], tmp_path, [helper.make_tensor("two", TensorProto.FLOAT, [], [2])])
    return tmp_path


def test_tells_what_it_takes_and_gives(directory):
    graph = load(directory, "double", threads=1)
    free = TensorType(np.dtype(np.float32), (None, 3))
    assert graph.runtime == "onnxruntime"
    assert graph.inputs == {"x": free}
    assert graph.outputs == {"y": free, "z": free}


@pytest.mark.parametrize("shrink", [False, True])
@pytest.mark.parametrize("steady_shapes", [False, True])
@pytest.mark.parametrize("optimise", [False, True])
def test_runs_under_every_option(directory, shrink, steady_shapes, optimise):
    graph = load(directory, "double", threads=1, steady_shapes=steady_shapes, optimise=optimise)
    for length in (2, 5):
        x = np.arange(length * 3, dtype=np.float32).reshape(length, 3)
        result = graph.run({"x": x}, shrink=shrink)
        np.testing.assert_array_equal(result["y"], 2 * x)
        np.testing.assert_array_equal(result["z"], 3 * x)


def test_gives_only_what_is_asked_for(directory):
    assert list(load(directory, "double", threads=1).run({"x": np.ones((1, 3), np.float32)}, ["z"])) == ["z"]


def test_names_the_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"unet: there is no .*unet\.onnx"):
        load(tmp_path, "unet", threads=1)


def test_refuses_a_type_numpy_does_not_have(tmp_path):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])
    y = helper.make_tensor_value_info("y", TensorProto.BFLOAT16, [3])
    save("cast", [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)], [x], [y], tmp_path)
    with pytest.raises(TypeError, match=r"y: is a tensor\(bfloat16\)"):
        load(tmp_path, "cast", threads=1)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("Failed to allocate memory for requested buffer of size 8589934592"), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), True),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("Invalid input name: q"), False),
        (ValueError("x: must have 3 columns"), False),
    ],
)
def test_knows_want_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_knows_it_from_onnx_runtime_itself(tmp_path):
    """An allocation of 2^61 bytes fails everywhere; what is said then is ONNX Runtime's own text."""
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, [1])
    filled = helper.make_tensor_value_info("filled", TensorProto.FLOAT, ["n"])
    node = helper.make_node("ConstantOfShape", ["shape"], ["filled"])
    save("fill", [node], [shape], [filled], tmp_path)
    with pytest.raises(Exception) as caught:
        load(tmp_path, "fill", threads=1).run({"shape": np.array([1 << 59], np.int64)})
    assert is_out_of_memory(caught.value), caught.value
