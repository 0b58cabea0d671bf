"""Running out of memory: reported to the caller at once, and the model goes on serving."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.local.triton import Triton, TritonSettings
from services.runtime.workers import find_workers
from tests.models.calls import draw, infer

SPARE = 8 << 20


@pytest.fixture
async def own(model_repository: Path, tmp_path: Path) -> AsyncIterator[Triton]:
    """A Triton of its own: its workers are about to be starved."""
    async with Triton(TritonSettings(tmp_path, model_repository)) as triton:
        await triton.wait_ready(60)
        yield triton


@contextmanager
def starved(triton: Triton, model: str) -> Iterator[None]:
    """Forbid the model's workers to take more than a few MiB beyond what they have."""
    assert triton.pid
    workers = [pid for pid, name in find_workers(triton.pid).items() if name == model]
    for pid in workers:
        status = Path(f"/proc/{pid}/status").read_text()
        used = int(status.split("VmSize:")[1].split()[0]) << 10
        resource.prlimit(pid, resource.RLIMIT_AS, (used + SPARE, resource.RLIM_INFINITY))
    yield
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def test_out_of_memory_is_reported_and_survived(own: Triton) -> None:
    client = InferenceServerClient(own.grpc_address)
    small, large = np.zeros((16, 16, 3), np.uint8), np.zeros((300, 300, 3), np.uint8)
    await draw(client, "a cat", [1], steps=1)
    await asyncio.gather(*(infer(client, "upscale_realesrgan", image=small) for _ in range(4)))

    with (
        starved(own, "text_to_image_house"),
        pytest.raises(InferenceServerException, match="out of memory: ask for fewer images at once"),
    ):
        await draw(client, "a cat", range(16), steps=1)
    assert len((await draw(client, "a cat", range(16), steps=1))[-1].images) == 16

    with (
        starved(own, "upscale_realesrgan"),
        pytest.raises(InferenceServerException, match="out of memory: send a smaller image"),
    ):
        await infer(client, "upscale_realesrgan", image=large)
    enlarged = await infer(client, "upscale_realesrgan", image=large)
    assert enlarged["image"].shape == (1200, 1200, 3)
    assert own.restarts == own.revivals == 0
    await client.close()
