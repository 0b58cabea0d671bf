"""Many callers at one time: each is served or told when to come back; nothing hangs, nothing grows."""

import asyncio
import os
from pathlib import Path

from scrollintel.visual import GenerationResult, ResourceError, VisualClient
from services.local.mesh import LocalMesh
from tests.mesh.conftest import WAITING
from tests.mesh.shown import shown
from tests.mesh.triton_idle import tree

SMALLEST = {"steps": 2, "width": 256, "height": 256}
MIB = 1 << 20


def resident(pids: list[int]) -> int:
    """Return the memory that processes have in use, in bytes."""
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += (
            next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0) * 1024
        )
    return total


async def ask(client: VisualClient, seed: int) -> GenerationResult | ResourceError:
    try:
        return await client.generate_image("a red apple", seed=seed, **SMALLEST).result()
    except ResourceError as refused:
        return refused


async def test_ten_at_one_time_all_complete(client: VisualClient):
    results = await asyncio.wait_for(asyncio.gather(*(ask(client, seed) for seed in range(10))), 60)
    assert all(isinstance(result, GenerationResult) for result in results), results
    assert len({await shown(result.assets[0]) for result in results}) == 10


async def test_a_hundred_are_served_or_refused_with_a_time(client: VisualClient, mesh: LocalMesh):
    await ask(client, 0)  # what is loaded on first use is loaded before anything is measured
    pids = tree(os.getpid())
    before = resident(pids)
    results = await asyncio.wait_for(asyncio.gather(*(ask(client, seed) for seed in range(100))), 90)
    growth = resident(pids) - before
    served = [result for result in results if isinstance(result, GenerationResult)]
    refused = [result for result in results if isinstance(result, ResourceError)]
    assert len(served) + len(refused) == 100
    assert len(served) >= WAITING
    assert refused, "a hundred do not fit"
    for error in refused:
        assert error.reason == "OVERLOADED"
        assert error.retry_after
        assert error.retry_after > 0
        assert error.estimated_wait is not None
        assert error.queue_position > WAITING
    assert growth < 200 * MIB, f"{growth / MIB:.0f} MiB more"
    assert isinstance(await ask(client, 1), GenerationResult), "and after that everything is as before"
