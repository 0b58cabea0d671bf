import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from services.models.serving import engine
from services.models.serving import graph as graph_module
from services.models.serving.graph import TensorType, is_out_of_memory, load


def save(name, nodes, inputs, outputs, directory, constants=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, directory / f"{name}.onnx")


def write_double(directory):
    """The graph `double`: y = 2x, z = 2x + x over [n, 3]."""
    directory.mkdir(parents=True, exist_ok=True)
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xyz")
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"]), helper.make_node("Add", ["y", "x"], ["z"])]
    save("double", nodes, [x], [y, z], directory, [helper.make_tensor("two", TensorProto.FLOAT, [], [2])])


@pytest.fixture
def directory(tmp_path):
    write_double(tmp_path)
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
    with pytest.raises(FileNotFoundError, match=r"unet: there is neither .*unet\.onnx nor unet\.pt2"):
        load(tmp_path, "unet", threads=1)


def test_refuses_a_type_numpy_does_not_have(tmp_path):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])
    y = helper.make_tensor_value_info("y", TensorProto.BFLOAT16, [3])
    save("cast", [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)], [x], [y], tmp_path)
    with pytest.raises(TypeError, match=r"y: is a tensor\(bfloat16\)"):
        load(tmp_path, "cast", threads=1)


PLACE = "sm89 tensorrt_rtx 9.9"


def write_engines(directory, promoted):
    engines = directory / "engines" / "double"
    engines.mkdir(parents=True)
    (engines / "some.plan").write_bytes(b"")
    if promoted is not None:
        (engines / "promoted.json").write_text(json.dumps(promoted))


@pytest.mark.parametrize(
    ("promoted", "sm", "installed", "reason"),
    [
        (None, 89, "9.9", "none of its engines was found to compute the same"),
        ({PLACE: "some.plan"}, None, "9.9", "there is no GPU here"),
        ({PLACE: "some.plan"}, 86, "9.9", "its engines are for sm89 tensorrt_rtx 9.9; here is sm86"),
        ({PLACE: "some.plan"}, 89, "9.8", "its engines are for sm89 tensorrt_rtx 9.9; here is sm89"),
        ({PLACE: "some.plan"}, 89, "9.9", "some.plan is broken"),
    ],
)
def test_says_why_an_engine_was_passed_over(tmp_path, monkeypatch, caplog, promoted, sm, installed, reason):
    write_double(tmp_path / "1")
    write_engines(tmp_path, promoted)
    monkeypatch.setattr(engine, "compute_capability", lambda device: sm)
    monkeypatch.setattr(engine, "version", lambda library: installed)

    def refuse(plan, library, device):
        raise RuntimeError(f"{plan.name} is broken")

    monkeypatch.setattr(engine, "Engine", refuse)
    assert load(tmp_path / "1", "double", threads=1).runtime == "onnxruntime"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith(f"double runs in ONNX Runtime, not TensorRT: {reason}")


def test_finds_the_engine_s_runner_beside_itself_in_a_build(tmp_path):
    """As Triton's Python backend imports it: from the model's own directory, in no package."""
    write_double(tmp_path / "1")
    write_engines(tmp_path, None)
    for module in (graph_module, engine):
        shutil.copy(module.__file__, tmp_path / "1")
    program = (
        "import pathlib, graph; print(graph.load(pathlib.Path('.').resolve(), 'double', threads=1).runtime)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.'); {program}"],
        cwd=tmp_path / "1",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["onnxruntime"]
    assert "none of its engines was found to compute the same" in done.stderr


class ShortEngine:
    """Answers with threes, for two rows at most."""

    inputs = outputs = {}  # noqa: RUF012

    def __init__(self, *opened):
        self.opened = opened

    def run(self, feed, outputs, *, shrink):
        if len(feed["x"]) > 2:
            raise engine.ShapeError("x: the engine was not built for the shape [4, 3]")
        return {"y": np.full_like(feed["x"], 3)}


@pytest.fixture
def promoted(tmp_path, monkeypatch):
    """Opening an engine needs a GPU; what is chosen, for which device, and what goes past it does not."""
    write_double(tmp_path / "1")
    write_engines(tmp_path, {"sm86 tensorrt_rtx 9.9": "other.plan", PLACE: "some.plan"})
    monkeypatch.setattr(engine, "compute_capability", lambda device: 89)
    monkeypatch.setattr(engine, "version", lambda library: "9.9")
    monkeypatch.setattr(engine, "Engine", ShortEngine)
    return tmp_path


def test_opens_the_engine_that_was_promoted_for_this_machine(promoted):
    graph = load(promoted / "1", "double", threads=1, device=2)
    assert graph.runtime == "tensorrt"
    assert graph._engine.opened == (promoted / "engines" / "double" / "some.plan", "tensorrt_rtx", 2)
    assert load(promoted / "1", "double", threads=1, device=None).runtime == "onnxruntime"


def test_shapes_that_the_engine_was_not_built_for_run_without_it(promoted, caplog):
    graph = load(promoted / "1", "double", threads=1)
    short, long = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(graph.run({"x": short}, ["y"])["y"], 3 * short)
        np.testing.assert_array_equal(graph.run({"x": long}, ["y"])["y"], 2 * long)
    (record,) = caplog.records  # said once
    assert record.message.endswith("x: the engine was not built for the shape [4, 3]")


def test_runs_what_only_torch_could_trace(tmp_path):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)

    class Double(torch.nn.Module):
        def forward(self, x, by):
            return x * by, x + 1

    example = (torch.ones(2, 3), torch.ones(3))
    free = {"x": {0: torch.export.Dim("n", min=2, max=64)}, "by": None}
    program = torch.export.export(Double(), example, dynamic_shapes=free)
    names = json.dumps({"inputs": ["sample", "scale"], "outputs": ["product", "sum"]})
    torch.export.save(program, tmp_path / "double.pt2", extra_files={"tensors.json": names})
    graph = load(tmp_path, "double", threads=1)
    assert graph.runtime == "pytorch"
    assert graph.inputs == {
        "sample": TensorType(np.dtype(np.float32), (None, 3)),
        "scale": TensorType(np.dtype(np.float32), (3,)),
    }
    x, by = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([1, 2, 3], np.float32)
    results = graph.run({"scale": by, "sample": x})
    np.testing.assert_array_equal(results["product"], x * by)
    np.testing.assert_array_equal(graph.run({"scale": by, "sample": x}, ["sum"])["sum"], x + 1)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("Failed to allocate memory for requested buffer of size 8589934592"), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), True),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cudaMalloc: cudaErrorMemoryAllocation"), True),
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
