"""One real request to a model that was just loaded, so that its first caller does not pay for what happens once.

A build may bring `1/warmup.npz`: the input tensors of a small request by name, strings as arrays of bytes or str. A
model without one is warm when Triton calls it ready.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from services.runtime.triton import TritonClient

FILE = "1/warmup.npz"


async def warm_up(triton: TritonClient, model: str, feed: dict[str, NDArray[Any]], timeout: float) -> None:
    """Run a model once and drop what it answers; raises MeshError when it cannot answer."""
    config = await triton.config(model)
    if not config.model_transaction_policy.decoupled:
        await triton.infer(model, feed, timeout)
        return
    async for _ in triton.stream(model, feed, request_id="warmup", timeout=timeout):
        pass


def read_feed(repository: Path, model: str) -> dict[str, NDArray[Any]] | None:
    """Return the inputs of a model's warm-up, or None when its build brings none. Raises MeshError MODEL_FAILED."""
    path = repository / model / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: _tensor(archive[name]) for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        message = f"{model}: its {FILE} cannot be read: {error}; build it again"
        raise MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, message) from error


def _tensor(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.object_) if array.dtype.kind in "SU" else array
