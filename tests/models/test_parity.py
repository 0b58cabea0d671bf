"""Parity: what is recorded, what is refused, and that a later change of a graph is found out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.models import parity
from services.models.parity import ParityError, difference
from tests.models.small_model import graph

FEED = {"x": np.array([[1, 2, 3]], np.float32)}
TWICE = {"y": np.array([[2, 4, 6]], np.float32)}


@pytest.fixture
def build(tmp_path: Path) -> Path:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "net.onnx").write_bytes(graph(2.0))
    return tmp_path


def record(
    build: Path, expected: dict[str, NDArray[Any]] | None = None, tolerance: float = 1e-6
) -> parity.Parity:
    return parity.record(
        build / "1", "net", FEED, expected or TWICE, tolerance=tolerance, reference="by hand"
    )


def test_what_agrees_is_kept_and_agrees_again(build: Path) -> None:
    assert record(build).passed
    (again,) = parity.verify(build)
    assert again.passed
    assert (again.component, again.reference, again.tolerance) == ("net", "by hand", 1e-6)
    assert again.error == 0
    assert again.runtime.startswith("ONNX Runtime 1.")
    assert parity.as_built(build) == [again]


def test_what_differs_is_refused_and_nothing_is_kept(build: Path) -> None:
    with pytest.raises(
        ParityError, match=r"net: not the same as by hand .*: differs by 2\.00e-01, more than 1e-06"
    ):
        record(build, {"y": np.array([[2, 4, 5]], np.float32)})
    assert not (build / "parity").exists()


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"y": np.zeros((2, 3), np.float32)}, r"y has shape \(1, 3\), the reference's is \(2, 3\)"),
        ({"z": np.zeros((1, 3), np.float32)}, "z"),
        ({"y": np.array([[2, 4, np.nan]], np.float32)}, "differs by inf"),
        ({}, "the reference gave no outputs"),
    ],
)
def test_no_comparison_is_no_parity(build: Path, expected: dict[str, NDArray[Any]], message: str) -> None:
    with pytest.raises(ParityError, match=message):
        parity.record(build / "1", "net", FEED, expected, tolerance=1.0, reference="by hand")


def test_a_graph_that_was_changed_fails(build: Path) -> None:
    record(build)
    (build / "1" / "net.onnx").write_bytes(graph(2.1))
    (found,) = parity.verify(build)
    assert not found.passed
    assert found.error == pytest.approx(0.05, rel=1e-3)  # 0.3 of 6


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1/net.onnx", b"not a graph"),
        ("1/net.onnx", None),
        ("parity/net.npz", b"PK"),
        ("parity/net.npz", b"PK\x03\x04 cut short"),
        ("parity/net.npz", None),
    ],
)
def test_what_cannot_be_run_fails_and_says_why(build: Path, name: str, content: bytes | None) -> None:
    record(build)
    (build / name).unlink() if content is None else (build / name).write_bytes(content)
    (found,) = parity.verify(build)
    assert not found.passed
    assert found.error == float("inf")
    assert found.detail


def test_arrays_that_were_damaged_fail_and_say_so(build: Path) -> None:
    record(build)
    path = build / "parity" / "net.npz"
    content = bytearray(path.read_bytes())
    content[60:100] = b"\xff" * 40  # inside the first array's compressed bytes
    path.write_bytes(content)
    (found,) = parity.verify(build)
    assert found.error == float("inf")
    assert "its arrays" in found.detail


def test_an_index_that_was_damaged_is_told(build: Path) -> None:
    record(build)
    (build / "parity" / "index.json").write_text("{")
    for read in (parity.verify, parity.as_built):
        with pytest.raises(
            ParityError, match=r"parity/index\.json: cannot be read: .*; build the model again"
        ):
            read(build)


def test_arrays_that_would_run_something_are_not_read(build: Path) -> None:
    record(build)
    np.savez(build / "parity" / "net.npz", **{"feed/x": np.array([{"a": 1}], object)})
    (found,) = parity.verify(build)
    assert "allow_pickle" in found.detail


def test_a_component_recorded_again_replaces_itself_alone(build: Path) -> None:
    (build / "1" / "other.onnx").write_bytes(graph(3.0))
    record(build)
    thrice = {"y": TWICE["y"] * 1.5}
    parity.record(build / "1", "other", FEED, thrice, tolerance=1e-6, reference="by hand")
    record(build, tolerance=1e-3)
    index = json.loads((build / "parity" / "index.json").read_text())
    assert {name: entry["tolerance"] for name, entry in index.items()} == {"net": 1e-3, "other": 1e-6}
    assert [found.component for found in parity.verify(build)] == ["net", "other"]


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [
        ([0.1], [0.0], 0.1),  # small values: absolute
        ([110.0], [100.0], 0.1),  # large values: relative
        ([1.0, 220.0], [1.1, 200.0], 0.1),
        ([np.inf], [np.inf], 0.0),
        ([np.inf], [1.0], np.inf),
        ([np.nan], [1.0], np.inf),
        ([1.0], [np.nan], np.inf),
        ([-np.inf], [np.inf], np.inf),
        ([], [], 0.0),
        ([1.0], [1.0, 1.0], np.inf),
    ],
)
def test_difference(actual: list[float], expected: list[float], error: float) -> None:
    assert difference(np.array(actual), np.array(expected)) == pytest.approx(error)


def test_no_number_never_passes() -> None:
    assert not parity.Parity("a", "b", "c", float("nan"), 1.0).passed
