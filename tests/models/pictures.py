"""Real pictures for the models that take and give them, and what such models have in common."""

import importlib.util
import sys
from types import ModuleType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.models.presence import REPOSITORY
from tests.models.calls import infer

Image = NDArray[np.uint8]


def photograph(name: str = "astronaut") -> Image:
    return np.asarray(getattr(data, name)(), np.uint8)


def sized(height: int, width: int) -> Image:
    """The astronaut, squeezed."""
    return np.asarray(cv2.resize(photograph(), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def rounded(values: NDArray[np.float64]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def noisy(image: Image, sigma: float) -> Image:
    return rounded(image + np.random.default_rng(0).normal(0, sigma, image.shape))


def served_code(model: str, module: str) -> ModuleType:
    """A module that lies beside a model's `model.py`; the repository is no package."""
    path = REPOSITORY / model / "1" / f"{module}.py"
    spec = importlib.util.spec_from_file_location(f"{model}.{module}", path)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


async def restore(client: InferenceServerClient, model: str, image: Image) -> Image:
    return (await infer(client, model, image=image))["image"]


async def refused(client: InferenceServerClient, model: str, **inputs: NDArray[np.generic]) -> str:
    """The words with which a request is refused."""
    with pytest.raises(InferenceServerException) as caught:
        await infer(client, model, **inputs)
    return str(caught.value.message())
