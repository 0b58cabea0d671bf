"""Restorers that run out of memory: the caller hears it in those words, and the model goes on serving."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient

from services.local.triton import Triton, TritonSettings
from tests.models.calls import infer
from tests.models.pictures import noisy, refused, sized
from tests.models.test_memory import starved

HALF = np.array([0.5], np.float32)


def inputs(model: str, side: int) -> dict[str, NDArray[np.generic]]:
    image = noisy(sized(side, side), 20)
    return {"first": image, "second": image, "times": HALF} if "interpolation" in model else {"image": image}


@pytest.fixture
async def own(model_repository: Path, tmp_path: Path) -> AsyncIterator[Triton]:
    models = ("denoise_oidn", "deblur_maxim", "interpolation_flow")
    async with Triton(TritonSettings(tmp_path, model_repository, models)) as triton:
        await triton.wait_ready(60)
        yield triton


async def test_out_of_memory_is_said_and_survived(own: Triton) -> None:
    client = InferenceServerClient(own.grpc_address)
    # Sizes whose work takes far more than what is left to the starved worker.
    for model, side in (("denoise_oidn", 1200), ("deblur_maxim", 64), ("interpolation_flow", 1500)):
        if (
            model != "deblur_maxim"
        ):  # whose tiles all take the same, so that one that was run has all it needs
            await infer(client, model, **inputs(model, 16))
        with starved(own, model):
            assert "out of memory: send" in await refused(client, model, **inputs(model, side))
        result = await infer(client, model, **inputs(model, 16))
        assert next(iter(result.values())).shape[-3:] == (16, 16, 3)
    assert own.restarts == own.revivals == 0
    await client.close()
