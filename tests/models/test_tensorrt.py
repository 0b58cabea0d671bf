"""Real engines, by the builder that needs no GPU, and what is done with them where none can run them."""

import ast
import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2

from services.models.catalogue import read_catalogue
from services.models.entry import Model, Precision, Profile
from services.models.parity import recording
from services.models.serving import engine as serving
from services.models.serving.graph import load
from services.models.tensorrt import api, engines
from services.models.tensorrt.api import BuilderError, build_plan, library_for
from services.models.tensorrt.engines import build_engines, verify_engines
from services.models.tensorrt.precision import RULES, refusal
from services.models.tensorrt.prepare import prepare
from services.models.tensorrt.store import Status, Store
from services.models.tensorrt.timings import keep_timings, read_timings, timings_path
from tests.models.diffusers_fixture import built
from tests.models.engine_graphs import node, small_network, value, write_build

trt = pytest.importorskip("tensorrt_rtx")
SHAPES = {
    "image": Profile(min=(1, 3, 8, 8), opt=(2, 3, 16, 16), max=(2, 3, 64, 64)),
    "mask": Profile(min=(1,), opt=(2,), max=(2,)),
}


def entry(**fields):
    return Model.model_validate(
        {
            "name": "small",
            "title": "small",
            "family": "test",
            "task": "upscale",
            "source": {"kind": "none"},
            "licence": {"spdx": "MIT", "commercial_use": True, "attribution": "nobody"},
            "converter": "copy",
            "precisions": ["fp16"],
            "memory_mib": 1,
            "profiles": {"net": {name: shapes.model_dump() for name, shapes in SHAPES.items()}},
        }
        | fields
    )


@pytest.fixture(scope="module")
def library():
    return library_for(89, None)


@pytest.fixture
def build(tmp_path):
    return write_build(tmp_path / "digest")


@pytest.fixture
def graph(tmp_path):
    onnx.save(small_network(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def is_engine(library, plan):
    """The builder's own verdict on bytes: on a machine without a GPU it finds nothing else wrong with an engine."""
    runtime = library.module.Runtime(library.module.Logger(library.module.Logger.INTERNAL_ERROR))
    _, diagnostics = runtime.get_engine_validity(plan)
    return not int(diagnostics) & int(library.module.EngineInvalidityDiagnostics.MALFORMED_ENGINE)


def test_one_library_is_here_and_says_what_it_builds_for(library):
    assert (library.name, library.version) == ("tensorrt_rtx", trt.__version__)
    assert library.targets == (75, 80, 86, 89, 120, 121)
    assert not library.keeps_timings


@pytest.mark.parametrize("sm", [75, 89, 120])
def test_builds_for_gpus_that_are_not_here(library, graph, sm):
    phases = []
    plan = build_plan(library, graph, SHAPES, sm=sm, step=lambda phase: phases.append(phase) or True)
    assert is_engine(library, plan.engine)
    assert not is_engine(library, plan.engine[64:])
    assert plan.timings is None
    assert "Building engine" in phases


def one_node(path, made, weights=()):
    graph = helper.make_graph(
        [made], "one", [value("x", 1, 3, 8, 8)], [value("y", None, None, None, None)], [*weights]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_graph_it_cannot_read_is_refused_with_the_node_s_name(library, tmp_path):
    path = one_node(tmp_path / "net.onnx", helper.make_node("Sharpen", ["x"], ["y"], name="decoder/sharpen"))
    with pytest.raises(
        BuilderError, match=r"net\.onnx: node decoder/sharpen \(Sharpen\): .*Plugin not found"
    ):
        build_plan(library, path, {}, sm=89)


def test_a_file_that_is_no_graph_is_refused(library, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"not a graph at all")
    with pytest.raises(BuilderError, match=r"net\.onnx: "):
        build_plan(library, tmp_path / "net.onnx", {}, sm=89)


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ({"mask": SHAPES["mask"]}, "Dynamic input tensor image is missing dimensions in profile"),
        (
            SHAPES | {"image": Profile(min=(1, 4, 8, 8), opt=(1, 4, 8, 8), max=(1, 4, 8, 8))},
            "Dimension mismatch for tensor image",
        ),
    ],
)
def test_shapes_it_cannot_build_for_are_told_in_its_words(library, graph, profiles, message):
    with pytest.raises(BuilderError, match=rf"net\.onnx: .*{message}"):
        build_plan(library, graph, profiles, sm=89)


def test_stops_between_two_steps(library, graph):
    steps = iter(range(40))
    with pytest.raises(BuilderError, match=r"net\.onnx: stopped before it was built"):
        build_plan(library, graph, SHAPES, sm=89, step=lambda phase: next(steps) < 20)
    assert next(steps) < 40  # it did not go on asking


@pytest.mark.parametrize(
    ("sm", "present", "message"),
    [
        (
            90,
            None,
            r"no engine for sm90 can be built here: tensorrt_rtx [\d.]+ builds for sm75, .*, and there is no GPU",
        ),
        (90, 89, "and the GPU here is sm89"),
    ],
)
def test_says_why_nothing_can_be_built_for_a_gpu(sm, present, message):
    with pytest.raises(BuilderError, match=message):
        library_for(sm, present)


def test_says_how_to_install_a_builder(monkeypatch):
    monkeypatch.setattr(api, "LIBRARIES", ("tensorrt_of_nobody",))
    with pytest.raises(BuilderError, match=r"pip install 'visual-mesh\[tensorrt-rtx\]'"):
        library_for(89, None)


def typed(path, element):
    """A convolution in `element` between casts."""
    weight = np.ones((32, 32, 3, 3), np.float32)
    tensor = helper.make_tensor("w", element, weight.shape, weight.ravel())
    if element == TensorProto.FLOAT8E4M3FN:
        scale = numpy_helper.from_array(np.array(1, np.float32), "s")
        zero = helper.make_tensor("z", element, [], [0.0])
        weights = [numpy_helper.from_array(weight, "w"), scale, zero]
        nodes = [
            node("QuantizeLinear", "x s z", "q"),
            node("DequantizeLinear", "q s z", "low"),
            node("QuantizeLinear", "w s z", "wq"),
            node("DequantizeLinear", "wq s z", "wl"),
            node("Conv", "low wl", "y"),
        ]
    else:
        weights = [tensor]
        nodes = [
            node("Cast", "x", "low", to=element),
            node("Conv", "low w", "made"),
            node("Cast", "made", "y", to=TensorProto.FLOAT),
        ]
    graph = helper.make_graph(nodes, "typed", [value("x", 1, 32, 8, 8)], [value("y", 1, 32, 6, 6)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


ELEMENTS = {
    Precision.FP16: TensorProto.FLOAT16,
    Precision.BF16: TensorProto.BFLOAT16,
    Precision.FP8: TensorProto.FLOAT8E4M3FN,
}


def verdict(library, path, sm):
    try:
        build_plan(library, path, {}, sm=sm)
    except BuilderError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("precision", ELEMENTS)
def test_the_table_of_precisions_is_what_the_builder_compiles(library, tmp_path, precision):
    path = typed(tmp_path / "typed.onnx", ELEMENTS[precision])
    verdicts = {sm: verdict(library, path, sm) for sm in library.targets}
    assert all("HW-specific datatypes" in text for text in verdicts.values() if text)
    compiled = {sm for sm, text in verdicts.items() if not text}
    assert compiled == {sm for sm in library.targets if not refusal(precision, sm)}
    assert min(compiled) == RULES[precision].since


def test_a_precision_that_the_chip_lacks_is_refused_before_anything_is_read(tmp_path):
    message = r"fp8 needs compute capability 8\.9 \(Ada\) or newer, and sm86 is 8\.6; precisions for it: fp32, fp16, bf16"
    with pytest.raises(BuilderError, match=message):
        build_engines(tmp_path / "none", entry(), precision=Precision.FP8, target_sm=86, home=tmp_path)


def test_without_a_gpu_it_has_to_be_told_which(build, tmp_path):
    with pytest.raises(BuilderError, match=r"there is no GPU here to build for: name the one .* --sm 89"):
        build_engines(build, entry(), home=tmp_path)


@pytest.mark.parametrize("precision", Precision)
def test_an_engine_built_elsewhere_waits_for_its_gpu(build, tmp_path, library, precision, caplog):
    stages = []
    (outcome,) = build_engines(
        build, entry(), precision=precision, target_sm=89, home=tmp_path, report=stages.append
    )
    assert (outcome.component, outcome.status, outcome.built) == ("net", Status.BUILT, True)
    assert (
        outcome.detail == "needs a GPU of sm89 to verify, there is none here: run vmesh models verify there"
    )
    store = Store(build)
    plan = store.plan(outcome.record)
    assert plan.name.startswith(f"sm89-tensorrt_rtx-{trt.__version__}-{precision}-")
    assert is_engine(library, plan.read_bytes())
    assert plan.stat().st_size == outcome.record.size_bytes
    assert not list((build / "engines").glob(".making-*"))
    assert "reading net" in stages
    assert any(stage.startswith("building net: ") for stage in stages)

    # Nothing of it is run: not here, and not on such a GPU either, before it was verified there.
    assert store.promoted("net") == {}
    graph = load(build / "1", "net", threads=1)
    assert graph.runtime == "onnxruntime"
    assert "none of its engines was found to compute the same (vmesh models verify)" in caplog.text
    assert [each.status for each in verify_engines(build)] == [Status.BUILT]

    # All the same: not built again. Another weight: it is.
    (again,) = build_engines(build, entry(), precision=precision, target_sm=89, home=tmp_path)
    assert (again.built, again.record.name) == (False, outcome.record.name)
    model = onnx.load(build / "1" / "net.onnx")
    model.graph.initializer[1].raw_data = (numpy_helper.to_array(model.graph.initializer[1]) + 1e-6).tobytes()
    onnx.save(model, build / "1" / "net.onnx")
    (changed,) = build_engines(build, entry(), precision=precision, target_sm=89, home=tmp_path)
    assert (changed.built, changed.record.name != outcome.record.name) == (True, True)


class ReferenceEngine:
    """Stands where the GPU would be: answers with what was recorded, moved by `off`."""

    off = 0.0
    inputs = outputs = {}  # noqa: RUF012

    def __init__(self, plan, library, device):
        self.plan = plan

    def run(self, given, outputs=None, *, shrink=False):
        if self.off is None:
            raise RuntimeError("cudaMalloc: cudaErrorMemoryAllocation")
        kept = recording(self.plan.parents[2], "net")
        return {name: array + self.off for name, array in kept.expected.items()}

    def close(self):
        pass


@pytest.fixture
def ada(monkeypatch):
    """A machine with a GPU of sm89, as far as the gate can tell."""
    monkeypatch.setattr(engines, "compute_capability", lambda: 89)
    monkeypatch.setattr(serving, "compute_capability", lambda device: 89)
    monkeypatch.setattr(engines, "Engine", ReferenceEngine)
    return ReferenceEngine


def test_an_engine_that_agrees_is_promoted_and_then_run(build, tmp_path, ada, monkeypatch):
    monkeypatch.setattr(ada, "off", 5e-3)
    (outcome,) = build_engines(build, entry(), home=tmp_path)  # no --sm: the GPU that is here
    assert (outcome.status, outcome.record.tolerance) == (Status.PROMOTED, 1e-2)
    assert outcome.record.error == pytest.approx(5e-3, rel=0.2)
    monkeypatch.setattr(serving, "Engine", ReferenceEngine)
    graph = load(build / "1", "net", threads=1)
    assert graph.runtime == "tensorrt"
    assert graph._engine.plan == Store(build).plan(outcome.record)


@pytest.mark.parametrize(
    ("off", "detail"),
    [
        (0.5, "differs from ONNX reference by 0"),
        (float("nan"), "differs from ONNX reference by inf, more than 0.01"),
        (None, "it does not run: cudaMalloc: cudaErrorMemoryAllocation"),
    ],
)
def test_one_that_does_not_is_kept_with_the_reason_and_never_run(
    build, tmp_path, ada, monkeypatch, off, detail
):
    monkeypatch.setattr(ada, "off", off)
    (outcome,) = build_engines(build, entry(), home=tmp_path)
    assert outcome.status is Status.FAILED
    assert outcome.detail.startswith(detail)
    assert Store(build).promoted("net") == {}
    assert load(build / "1", "net", threads=1).runtime == "onnxruntime"
    monkeypatch.setattr(ada, "off", 0.0)  # such as when the memory is free again
    assert [each.status for each in verify_engines(build)] == [Status.PROMOTED]


def test_verify_promotes_what_was_built_elsewhere_and_the_last_one_wins(build, tmp_path, ada, monkeypatch):
    with monkeypatch.context() as nowhere:
        nowhere.setattr(engines, "compute_capability", lambda: None)
        for precision in (Precision.FP32, Precision.FP16):
            build_engines(build, entry(), precision=precision, target_sm=89, home=tmp_path)
        build_engines(build, entry(), precision=Precision.FP16, target_sm=120, home=tmp_path)
    for _ in range(2):  # and stays so
        outcomes = {(each.record.sm, each.record.precision): each.status for each in verify_engines(build)}
        assert outcomes == {
            (89, "fp32"): Status.VERIFIED,
            (89, "fp16"): Status.PROMOTED,
            (120, "fp16"): Status.BUILT,
        }


def test_a_plan_that_was_changed_is_not_run(build, tmp_path, ada):
    (outcome,) = build_engines(build, entry(), home=tmp_path)
    with Store(build).plan(outcome.record).open("ab") as plan:
        plan.write(b"more")
    (outcome,) = verify_engines(build)
    assert outcome.status is Status.FAILED
    assert outcome.detail == "its plan is not the file that was built; build it again"
    assert Store(build).promoted("net") == {}
    (outcome,) = build_engines(build, entry(), home=tmp_path)
    assert (outcome.status, outcome.built) == (Status.PROMOTED, True)


def test_an_engine_of_another_version_is_not_tried(build, tmp_path, ada, monkeypatch):
    build_engines(build, entry(), home=tmp_path)
    monkeypatch.setattr(engines, "version", lambda name: "2.0")
    (outcome,) = verify_engines(build)
    assert outcome.status is Status.PROMOTED  # for where that version still is
    with monkeypatch.context() as gone:
        gone.setattr(serving, "version", lambda name: "2.0")
        assert load(build / "1", "net", threads=1).runtime == "onnxruntime"


def test_a_component_without_shapes_is_refused_by_name_and_the_others_are_built(build, tmp_path):
    onnx.save(small_network(), build / "1" / "other.onnx")
    outcomes = {each.component: each for each in build_engines(build, entry(), target_sm=89, home=tmp_path)}
    assert outcomes["net"].status is Status.BUILT
    assert outcomes["other"].status is Status.FAILED
    assert outcomes["other"].detail.startswith(
        "small: profiles.other.image: axis 2 is free and its lengths are not known"
    )


def test_stopping_leaves_nothing_half_built(build, tmp_path):
    steps = iter(range(10**6))
    (outcome,) = build_engines(build, entry(), target_sm=89, home=tmp_path, proceed=lambda: next(steps) < 30)
    assert (outcome.status, outcome.detail) == (Status.FAILED, "net.onnx: stopped before it was built")
    assert not list((build / "engines").glob("net/*"))
    assert not list((build / "engines").glob(".making-*"))


def test_the_python_backend_s_configuration_for_a_gpu_lies_with_the_engines(build, tmp_path):
    (build / "config.pbtxt").write_text(
        'name: "small" backend: "python" instance_group [ { count: 1 kind: KIND_CPU } ]'
    )
    build_engines(build, entry(), target_sm=89, home=tmp_path)
    text = (build / "engines" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert [each.kind for each in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]


def test_timings_are_kept_apart_by_gpu_and_version(library, tmp_path):
    assert read_timings(tmp_path, 89, library) == b""
    keep_timings(tmp_path, 89, library, b"measured")
    assert read_timings(tmp_path, 89, library) == b"measured"
    assert read_timings(tmp_path, 86, library) == b""
    path = timings_path(tmp_path, 89, library)
    assert path == tmp_path / "engines" / "timing" / f"sm89-tensorrt_rtx-{trt.__version__}.cache"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_this_library_really_keeps_no_timings(library, graph):
    """Its cache is declared a no-op; should a later one keep timings, `keeps_timings` is to be told of it."""
    config = library.module.Builder(library.module.Logger()).create_builder_config()
    with pytest.warns(DeprecationWarning, match="no-op"):
        assert config.get_timing_cache() is None


# Which class the objects have that each expression of our code names.
RUNNER = {
    "self._trt": "",
    "self._trt.Logger": "Logger",
    "self._trt.TensorIOMode": "TensorIOMode",
    "self._trt.CudaGraphStrategy": "CudaGraphStrategy",
    "self._trt.ExecutionContextAllocationStrategy": "ExecutionContextAllocationStrategy",
    "self._runtime": "Runtime",
    "self._engine": "ICudaEngine",
    "context": "IExecutionContext",
    "shaped.context": "IExecutionContext",
    "config": "IRuntimeConfig",
    "cache": "IRuntimeCache",
    "self._cache": "IRuntimeCache",
}
BUILDER = {
    "module": "",
    "builder": "Builder",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "made": "IOptimizationProfile",
    "error": "ParserError",
    "module.BuilderFlag": "BuilderFlag",
}


@pytest.mark.parametrize(("source", "names"), [(serving, RUNNER), (api, BUILDER)], ids=["runner", "builder"])
def test_everything_that_is_used_of_the_library_exists(source, names):
    used = set()
    for each in ast.walk(ast.parse(Path(inspect.getfile(source)).read_text())):
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) in names:
            used.add((names[ast.unparse(each.value)], each.attr))
    assert len(used) > 12
    missing = [
        f"{owner}.{attribute}"
        for owner, attribute in sorted(used)
        if not hasattr(getattr(trt, owner) if owner else trt, attribute)
    ]
    assert missing == []


def test_everything_that_is_used_of_cuda_exists():
    runtime = pytest.importorskip("cuda.bindings.runtime")
    tree = ast.parse(Path(inspect.getfile(serving)).read_text())
    called = {
        f"cuda{each.args[0].value}"
        for each in ast.walk(tree)
        if isinstance(each, ast.Call) and ast.unparse(each.func) in ("self._cuda", "cuda") and each.args
    }
    assert {"cudaMalloc", "cudaStreamBeginCapture", "cudaGraphLaunch"} < called
    assert [name for name in sorted(called) if not hasattr(runtime, name)] == []
    for owner, member in (
        ("cudaMemcpyKind", "cudaMemcpyHostToDevice"),
        ("cudaMemcpyKind", "cudaMemcpyDeviceToHost"),
        ("cudaStreamCaptureMode", "cudaStreamCaptureModeThreadLocal"),
        ("cudaDeviceAttr", "cudaDevAttrComputeCapabilityMajor"),
        ("cudaDeviceAttr", "cudaDevAttrComputeCapabilityMinor"),
        ("cudaError_t", "cudaSuccess"),
    ):
        assert hasattr(getattr(runtime, owner), member)
    assert isinstance(runtime.cudaStreamNonBlocking, int)
    # Every function gives its status first; without a driver that is all it can give.
    assert runtime.cudaMalloc(16)[0] != runtime.cudaError_t.cudaSuccess or Path("/dev/nvidia0").exists()


def test_real_esrgan_becomes_an_engine(model_repository, tmp_path, library):
    served = (model_repository / "upscale_realesrgan").resolve()
    profile = Profile(min=(1, 3, 16, 16), opt=(1, 3, 336, 336), max=(1, 3, 400, 400))
    for component in ("compact", "x4plus-anime"):
        scratch = tmp_path / component
        scratch.mkdir()
        made = prepare(served / "1" / f"{component}.onnx", Precision.FP16, None, scratch, lambda stage: None)
        plan = build_plan(library, made, {"image": profile}, sm=89)
        assert is_engine(library, plan.engine)


@pytest.mark.timeout(600)  # where nobody built the pipeline before
def test_sdxl_s_denoiser_becomes_an_engine_for_the_sizes_it_draws(tmp_path, library):
    """Of random weights, exported as an operator's are: parts of a tensor as sequences, norms, attention, embeddings."""
    pytest.importorskip("diffusers")
    served = (built("sdxl-test") / "sdxl-test").resolve()
    shutil.copytree(
        served, tmp_path / "build", ignore=lambda _, names: [each for each in names if each.endswith(".onnx")]
    )
    shutil.copy(served / "1" / "unet.onnx", tmp_path / "build" / "1")
    model = read_catalogue()["sdxl-test"]
    (outcome,) = build_engines(
        tmp_path / "build", model, precision=Precision.FP16, target_sm=89, home=tmp_path
    )
    assert (outcome.component, outcome.status) == ("unet", Status.BUILT), outcome.detail
    assert is_engine(library, Store(tmp_path / "build").plan(outcome.record).read_bytes())
    assert set(outcome.record.profiles) == {
        "sample",
        "timestep",
        "encoder_hidden_states",
        "pooled",
        "time_ids",
    }
    rows, channels, height, width = outcome.record.profiles["sample"]["opt"]
    assert (rows, channels) == (2, 4)
    assert model.sizes[0] == (width * 8, height * 8)


def test_records_are_json_that_others_can_read(build, tmp_path):
    (outcome,) = build_engines(build, entry(), target_sm=89, home=tmp_path)
    told = json.loads(Store(build).plan(outcome.record).with_suffix(".json").read_text())
    assert told["profiles"]["image"] == {"min": [1, 3, 8, 8], "opt": [2, 3, 16, 16], "max": [2, 3, 64, 64]}
    assert (told["status"], told["precision"], told["sm"]) == ("built", "fp16", 89)
    assert len(told["weights"]) == 64
    assert (told["library"], told["version"]) == ("tensorrt_rtx", trt.__version__)
