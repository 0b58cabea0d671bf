"""Running out of memory: reported to the caller at once, and the model goes on serving."""

import asyncio
import re
import resource
import shutil
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

HOUSE, UPSCALER = "text_to_image_house", "upscale_realesrgan"
SPARE = 16 << 20


LARGE_BATCH = 32


@pytest.fixture
async def own(model_repository: Path, tmp_path: Path) -> AsyncIterator[Triton]:
    """A Triton of its own, whose workers are about to be starved, and whose house model draws in large batches."""
    repository = tmp_path / "repository"
    for model in (UPSCALER, "text_embedding"):
        (repository / model).parent.mkdir(exist_ok=True)
        (repository / model).symlink_to((model_repository / model).resolve())
    shutil.copytree(model_repository / HOUSE, repository / HOUSE)
    config = repository / HOUSE / "config.pbtxt"
    text = config.read_text()
    for key, value in (("workers", 1), ("max_batch", LARGE_BATCH)):
        text, changed = re.subn(rf'(key: "{key}" value \{{ string_value: )"\d+"', rf'\1"{value}"', text)
        assert changed == 1
    config.write_text(text)
    async with Triton(TritonSettings(tmp_path, repository)) as triton:
        await triton.wait_ready(60)
        yield triton


def memory(pid: int) -> int:
    """Bytes that a process may write to. Address space is no measure: each thread reserves 64 MiB of it."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmData:")[1].split()[0]) << 10


@contextmanager
def starved(triton: Triton, model: str) -> Iterator[None]:
    """Forbid the model's workers to take more than SPARE beyond what they have."""
    assert triton.pid
    workers = [pid for pid, name in find_workers(triton.pid).items() if name == model]
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_DATA, (memory(pid) + SPARE, resource.RLIM_INFINITY))
    yield
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def test_a_drawing_that_does_not_fit_is_tried_in_smaller_batches(own: Triton, tmp_path: Path) -> None:
    """And then drawn or refused, as there is room for what surrounds the network; nothing hangs or dies."""
    client = InferenceServerClient(own.grpc_address)
    await draw(client, "a cat", [1], steps=1)
    with starved(own, HOUSE):
        (drawn,) = await asyncio.gather(draw(client, "a cat", range(16), steps=1), return_exceptions=True)
    failures = (tmp_path / "logs" / "triton.log").read_text().count("Failed to allocate memory")
    assert failures > 1, "so the whole batch did not fit, nor a half of it"
    unhurried = (await draw(client, "a cat", range(16), steps=1))[-1].images
    if isinstance(drawn, BaseException):
        assert "out of memory: ask for fewer images at once" in str(drawn)
    else:
        np.testing.assert_array_equal(drawn[-1].images, unhurried)
    assert own.restarts == own.revivals == 0
    await client.close()


async def test_out_of_memory_is_reported_and_survived(own: Triton) -> None:
    client = InferenceServerClient(own.grpc_address)
    small, large = np.zeros((16, 16, 3), np.uint8), np.zeros((300, 300, 3), np.uint8)
    await infer(client, UPSCALER, image=small)
    with (
        starved(own, UPSCALER),
        pytest.raises(InferenceServerException, match="out of memory: send a smaller image"),
    ):
        await infer(client, UPSCALER, image=large)
    enlarged = await infer(client, UPSCALER, image=large)
    assert enlarged["image"].shape == (1200, 1200, 3)
    assert own.restarts == own.revivals == 0
    await client.close()
