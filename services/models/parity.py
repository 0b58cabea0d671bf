"""Parity: that a graph computes what its reference computed, checked when it is built and again at any later time.

The difference of two arrays is `max|a - b| / max(1, max|b|)`: absolute where the reference is small, relative where
it is large. What went in and what the reference gave are kept beside the build, so a later check needs neither the
reference nor the weights.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

DIRECTORY = "parity"
INDEX = "index.json"
RUNTIME = f"ONNX Runtime {onnxruntime.__version__} (CPU)"

Arrays = Mapping[str, NDArray[Any]]


class ParityError(Exception):
    """A graph does not compute what its reference does; the text says which, by how much and what was allowed."""


@dataclass(frozen=True)
class Parity:
    """One component against its reference.

    `error` is the largest difference over all outputs (infinite when the graph could not be run or an output's shape
    differs, and `detail` says why), `tolerance` what is allowed.
    """

    component: str
    reference: str
    runtime: str
    error: float
    tolerance: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the tolerance."""
        return bool(self.error <= self.tolerance)  # false for NaN


@dataclass(frozen=True)
class Recording:
    """What a component was given once and what its reference gave for it, by input and output name.

    `tolerance` is what the exported graph itself is allowed.
    """

    component: str
    reference: str
    tolerance: float
    feed: Arrays
    expected: Arrays


def difference(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return `max|a - b| / max(1, max|b|)`; infinite where the shapes differ or exactly one side is not finite."""
    if actual.shape != expected.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    return float(np.abs(a[finite] - b[finite]).max() / max(1.0, np.abs(b[finite]).max()))


def record(
    destination: Path, component: str, feed: Arrays, expected: Arrays, *, tolerance: float, reference: str
) -> Parity:
    """Run `destination/<component>.onnx` on `feed`, hold it against `expected`, and keep both for `verify`.

    `feed` and `expected` hold arrays by input and output name; `reference` says what computed `expected`, such as
    "PyTorch 2.13.0". Kept in `destination/../parity/<component>.npz` and `index.json`. Raises ParityError, and keeps
    nothing, when the graph differs by more than `tolerance` or cannot be run.
    """
    if not expected:
        raise ParityError(f"{component}: the reference gave no outputs, so there is nothing to compare")
    given = Recording(component, reference, tolerance, feed, expected)
    parity = _check(destination / f"{component}.onnx", given)
    if not parity.passed:
        raise ParityError(_complaint(parity))
    directory = destination.parent / DIRECTORY
    directory.mkdir(exist_ok=True)
    arrays = {f"feed/{name}": values for name, values in feed.items()}
    arrays |= {f"expected/{name}": values for name, values in expected.items()}
    fresh = directory / f".{component}.npz"
    with fresh.open("wb") as file:
        np.savez_compressed(file, **arrays)
    fresh.replace(directory / f"{component}.npz")
    entry = {"tolerance": tolerance, "reference": reference, "error": parity.error, "runtime": RUNTIME}
    entries = _read_index(directory) | {component: entry}
    _write_index(directory, entries)
    return parity


def as_built(build: Path) -> list[Parity]:
    """Return what was found when a build was made, by name; nothing is run. Raises ParityError, as `verify` does."""
    index = _read_index(build / DIRECTORY)
    return [
        Parity(component, entry["reference"], entry["runtime"], entry["error"], entry["tolerance"])
        for component, entry in sorted(index.items())
    ]


def verify(build: Path) -> list[Parity]:
    """Run every recorded component of a build again, by name; a component that cannot be run fails, it does not raise.

    Raises ParityError when what was recorded cannot be read.
    """
    return [_check_again(build, component) for component in recorded(build)]


def recorded(build: Path) -> list[str]:
    """Return the names of the components that a build keeps a recording of."""
    return sorted(_read_index(build / DIRECTORY))


def recording(build: Path, component: str) -> Recording:
    """Read what `record` kept. Raises ParityError when there is nothing, or it cannot be read."""
    directory = build / DIRECTORY
    entry = _read_index(directory).get(component)
    if entry is None:
        raise ParityError(f"{component}: nothing was recorded of it; build the model again")
    try:
        with np.load(directory / f"{component}.npz", allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ParityError(f"{component}: its arrays: {error}") from error
    feed, expected = (
        {name.removeprefix(part): values for name, values in kept.items() if name.startswith(part)}
        for part in ("feed/", "expected/")
    )
    return Recording(component, str(entry["reference"]), float(entry["tolerance"]), feed, expected)


def compare(recording: Recording, actual: Arrays, runtime: str, tolerance: float) -> Parity:
    """Hold what `runtime` computed from a recording's feed against its reference."""
    expected = recording.expected
    errors = {name: difference(np.asarray(actual[name]), expected[name]) for name in expected}
    worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    shapes = f"{np.shape(actual[worst])}, the reference's is {expected[worst].shape}"
    detail = f"{worst} has shape {shapes}" if np.shape(actual[worst]) != expected[worst].shape else ""
    return Parity(recording.component, recording.reference, runtime, errors[worst], tolerance, detail)


def _check_again(build: Path, component: str) -> Parity:
    try:
        kept = recording(build, component)
    except ParityError as error:
        entry = _read_index(build / DIRECTORY)[component]
        reference, tolerance = str(entry["reference"]), float(entry["tolerance"])
        return Parity(component, reference, RUNTIME, float("inf"), tolerance, str(error))
    return _check(build / "1" / f"{component}.onnx", kept)


def _check(graph: Path, kept: Recording) -> Parity:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        names = list(kept.expected)
        actual = dict(zip(names, session.run(names, dict(kept.feed)), strict=True))
    except Exception as error:  # ONNX Runtime's own exceptions share no base but this
        return Parity(
            kept.component, kept.reference, RUNTIME, float("inf"), kept.tolerance, str(error).strip()
        )
    return compare(kept, actual, RUNTIME, kept.tolerance)


def _complaint(parity: Parity) -> str:
    what = parity.detail or f"differs by {parity.error:.2e}, more than {parity.tolerance:.0e}"
    return f"{parity.component}: not the same as {parity.reference} in {parity.runtime}: {what}"


def _read_index(directory: Path) -> dict[str, dict[str, Any]]:
    try:
        entries: dict[str, dict[str, Any]] = json.loads((directory / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ParityError(f"{DIRECTORY}/{INDEX}: cannot be read: {error}; build the model again") from error
    return entries


def _write_index(directory: Path, entries: Mapping[str, Any]) -> None:
    fresh = directory / f".{INDEX}.{os.getpid()}"
    fresh.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    fresh.replace(directory / INDEX)
