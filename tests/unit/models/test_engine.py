"""The engine's runner against a scripted GPU: what is allocated, captured, replayed and given back."""

import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest

from services.models.serving.engine import KEPT_SHAPES, Engine, EngineError, compute_capability
from services.models.serving.graph import is_out_of_memory
from tests.unit.models.scripted_gpu import Gpu, library


@pytest.fixture
def gpu(monkeypatch):
    gpu = Gpu()
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", gpu.runtime())
    monkeypatch.setitem(sys.modules, "tensorrt", library(gpu))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library(gpu, settings=True))
    return gpu


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "some.plan"
    path.write_bytes(b"plan")
    return path


def rows(count):
    return np.arange(count * 3, dtype=np.float32).reshape(count, 3)


def test_tells_the_gpu(gpu):
    assert compute_capability() == 89


def test_no_gpu_without_its_bindings(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert compute_capability() is None


def test_computes_and_replays_a_captured_launch(gpu, plan):
    engine = Engine(plan, "tensorrt", 0)
    assert engine.inputs["x"] == (np.dtype(np.float32), (None, 3))
    for _ in range(3):
        np.testing.assert_array_equal(engine.run({"x": rows(4)})["doubled"], 2 * rows(4))
    work = [call for call in gpu.calls if call in ("enqueue", "instantiate", "launch")]
    assert work == ["enqueue", "instantiate", "launch", "launch"]


def test_each_set_of_shapes_is_captured_by_itself(gpu, plan):
    engine = Engine(plan, "tensorrt", 0)
    for count in (4, 2, 4, 2):
        np.testing.assert_array_equal(engine.run({"x": rows(count)})["doubled"], 2 * rows(count))
    assert len(gpu.launches) == 2
    assert gpu.calls.count("launch") == 2


def test_leaves_capturing_to_a_library_that_does_it_and_keeps_its_kernels(gpu, plan):
    engine = Engine(plan, "tensorrt_rtx", 0)
    for _ in range(3):
        np.testing.assert_array_equal(engine.run({"x": rows(4)})["doubled"], 2 * rows(4))
    assert gpu.calls.count("enqueue") == 3
    assert not gpu.launches
    assert plan.with_suffix(".kernels").read_bytes() == b"compiled"
    assert Engine(plan, "tensorrt_rtx", 0)._config.cache.read == b"compiled"


def test_keeps_a_bounded_number_of_shapes(gpu, plan):
    engine = Engine(plan, "tensorrt", 0)
    free = gpu.free_bytes
    for count in range(1, KEPT_SHAPES + 4):
        engine.run({"x": rows(count)})
    assert len(gpu.launches) == KEPT_SHAPES
    engine.run({"x": rows(1)}, shrink=True)
    assert not gpu.launches
    assert gpu.free_bytes == free


def test_gives_everything_back(gpu, plan):
    before = gpu.free_bytes
    engine = Engine(plan, "tensorrt", 0)
    engine.run({"x": rows(4)})
    engine.close()
    assert (gpu.free_bytes, gpu.blocks) == (before, {})
    engine = Engine(plan, "tensorrt", 0)
    engine.run({"x": rows(4)})
    del engine
    assert (gpu.free_bytes, gpu.blocks) == (before, {})


def test_want_of_memory_is_told_and_leaves_nothing_half_allocated(gpu, plan):
    engine = Engine(plan, "tensorrt", 0)
    gpu.free_bytes = free = rows(4).nbytes  # enough for the input, not for the output
    with pytest.raises(RuntimeError) as caught:
        engine.run({"x": rows(4)})
    assert is_out_of_memory(caught.value)
    assert gpu.free_bytes == free
    gpu.free_bytes = 1 << 20
    np.testing.assert_array_equal(engine.run({"x": rows(4)})["doubled"], 2 * rows(4))


def test_refuses_a_shape_it_was_not_built_for(gpu, plan):
    with pytest.raises(ValueError, match=r"x: the engine was not built for the shape \[65, 3\]"):
        Engine(plan, "tensorrt", 0).run({"x": rows(65)})


def test_refuses_a_plan_that_the_library_cannot_open(gpu, plan):
    plan.write_bytes(b"of another version")
    with pytest.raises(EngineError, match=r"some\.plan cannot be opened by tensorrt 9\.9; build it again"):
        Engine(plan, "tensorrt", 0)


def test_takes_callers_one_after_the_other(gpu, plan):
    engine = Engine(plan, "tensorrt", 0)
    counts = [1, 2, 3, 4] * 16
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda count: engine.run({"x": rows(count) + count})["doubled"], counts))
    for count, result in zip(counts, results, strict=True):
        np.testing.assert_array_equal(result, 2 * (rows(count) + count))
