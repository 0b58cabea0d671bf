"""What `tensorrt` does that `tensorrt_rtx` does not, against a scripted library: it measures, and builds for one GPU."""

from types import SimpleNamespace

import pytest

from services.models.tensorrt import api
from services.models.tensorrt.api import BuilderError, Library, build_plan, installed, library_for
from services.models.tensorrt.timings import keep_timings, read_timings

HERE = b"measured here;"


class Config:
    """A builder's configuration; timings that another GPU wrote are not taken."""

    def __init__(self):
        self.cache, self.progress_monitor, self.cleared = None, None, []

    def clear_flag(self, flag):
        self.cleared.append(flag)

    def create_timing_cache(self, timings):
        return SimpleNamespace(timings=timings, serialize=lambda: self.cache.timings)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        if cache.timings.startswith(b"foreign"):
            return False
        self.cache = cache
        return True


class Builder:
    measured = 0

    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        assert flags == 1 << 3
        return SimpleNamespace()

    def create_builder_config(self):
        return Config()

    def build_serialized_network(self, network, config):
        if not config.progress_monitor.step_complete("Measuring", 0):
            return None
        if HERE not in config.cache.timings:
            type(self).measured += 1
            config.cache.timings += HERE
        assert config.cleared == ["tf32"]
        self.logger.log(SimpleNamespace(name="WARNING"), "a warning")
        return b"plan"


def scripted(**members):
    plain = type("Plain", (), {"__init__": lambda self: None})
    return SimpleNamespace(
        __version__="10.9",
        ILogger=plain,
        IProgressMonitor=plain,
        Builder=Builder,
        OnnxParser=lambda network, logger: SimpleNamespace(parse_from_file=lambda path: True),
        BuilderFlag=SimpleNamespace(TF32="tf32"),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=3),
        **members,
    )


@pytest.fixture
def library(monkeypatch):
    monkeypatch.setattr(Builder, "measured", 0)
    return Library("tensorrt", "10.9", (), scripted())


def test_what_was_measured_once_is_not_measured_again(library, tmp_path):
    for _ in range(2):
        timings = read_timings(tmp_path, 90, library)
        plan = build_plan(library, tmp_path / "net.onnx", {}, sm=90, timings=timings)
        keep_timings(tmp_path, 90, library, plan.timings)
    assert Builder.measured == 1
    assert read_timings(tmp_path, 90, library) == HERE
    assert (plan.engine, plan.warnings) == (b"plan", ("a warning",))


def test_timings_of_another_gpu_are_left_aside(library, tmp_path):
    plan = build_plan(library, tmp_path / "net.onnx", {}, sm=90, timings=b"foreign")
    assert plan.timings == HERE


def test_what_is_told_of_progress_may_fail_and_is_heard(library, tmp_path):
    def step(phase):
        raise OSError("the pipe is closed")

    with pytest.raises(OSError, match="the pipe is closed"):
        build_plan(library, tmp_path / "net.onnx", {}, sm=90, step=step)


def test_each_gpu_has_the_library_that_can_build_for_it(monkeypatch):
    capabilities = SimpleNamespace(__members__={"NONE": 0, "CURRENT": 1, "SM89": 2, "SM120": 3})
    modules = {"tensorrt": scripted(), "tensorrt_rtx": scripted(ComputeCapability=capabilities)}
    monkeypatch.setattr(api.importlib, "import_module", modules.__getitem__)
    assert [(each.name, each.targets) for each in installed()] == [
        ("tensorrt", ()),
        ("tensorrt_rtx", (89, 120)),
    ]
    assert library_for(90, 90).name == "tensorrt"
    assert library_for(89, 89).name == "tensorrt"
    assert library_for(89, None).name == "tensorrt_rtx"
    assert library_for(120, 90).name == "tensorrt_rtx"
    with pytest.raises(
        BuilderError, match=r"tensorrt 10\.9 builds for the GPU it runs on; tensorrt_rtx 10\.9 builds"
    ):
        library_for(90, None)


def test_a_package_without_its_native_libraries_is_not_installed(monkeypatch):
    def broken(name):
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(api.importlib, "import_module", broken)
    assert installed() == []
