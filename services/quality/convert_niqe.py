"""Make `metrics/niqe.npz` from a wheel that carries the published model.

    pip download --no-deps mmagic==1.2.0 && python -m services.quality.convert_niqe mmagic-1.2.0-py2.py3-none-any.whl

The wheel (Apache-2.0) holds the Gaussian that the method's authors fitted to 125 pristine photographs and released with
their code (LIVE, The University of Texas at Austin, 2012; free use, copying and distribution with acknowledgement). It
is read, never imported, and the file is checked.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from services.quality.metrics.niqe import WEIGHTS

FILE = "mmagic/evaluation/metrics/niqe_pris_params.npz"
SHA256 = "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296"


def convert(wheel: Path, target: Path = WEIGHTS) -> None:
    """Read the wheel's model and write it as arrays. Raises ValueError when the file is not the one expected."""
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(FILE)
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"{FILE} is not the file that was reviewed")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        mean, covariance = file["mu_pris_param"].ravel(), file["cov_pris_param"]
    np.savez_compressed(target, mean=mean, covariance=covariance)


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
