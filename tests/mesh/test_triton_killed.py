"""Triton is killed in the middle of a generation: that one fails, the next one works, nothing else notices."""

import asyncio
import os
import signal

import pytest

from scrollintel.visual import Failed, ModelError, VisualClient, running
from services.local.mesh import LocalMesh
from services.runtime.workers import find_workers
from tests.mesh.quick import LONG, QUICK, assert_sound
from tests.mesh.test_cancel import until_step

BACK_SECONDS = 60


async def test_the_call_fails_with_a_time_and_the_next_one_after_the_restart_works(
    client: VisualClient, mesh: LocalMesh
):
    generation = client.generate_image("a red apple", **LONG)
    events = await until_step(generation)
    assert mesh.triton.pid
    os.kill(mesh.triton.pid, signal.SIGKILL)
    events += [event async for event in generation]
    assert_sound(events)
    assert isinstance(events[-1], Failed)
    with pytest.raises(ModelError) as caught:
        await generation.result()
    assert caught.value.retry_after
    assert caught.value.retry_after > 0
    assert caught.value.code == "UNAVAILABLE"

    health = await asyncio.gather(*(running.health(address) for address in mesh.servers.values()))
    assert all(health), "every server serves on"

    result = await asyncio.wait_for(_patient(client), BACK_SECONDS)
    assert len(result.assets) == 1
    assert mesh.triton.restarts >= 1


async def test_the_drawing_process_alone_killed_ends_its_calls_soon(client: VisualClient, mesh: LocalMesh):
    """Triton would leave them open for ever: whoever waited would wait until the deadline."""
    generation = client.generate_image("a red apple", **LONG)
    events = await until_step(generation)
    workers = await asyncio.to_thread(find_workers, mesh.triton.pid or 0)
    (pid,) = [pid for pid, model in workers.items() if model == "text_to_image_house"]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(BACK_SECONDS):
        events += [event async for event in generation]
        assert_sound(events)
        assert isinstance(events[-1], Failed)
        assert events[-1].error.retry_after
        assert len((await _patient(client)).assets) == 1


async def _patient(client: VisualClient):
    """Ask again as the errors advise, until it works."""
    while True:
        try:
            return await client.generate_image("a red apple", seed=7, **QUICK).result()
        except ModelError as error:
            await asyncio.sleep(min(error.retry_after or 1, 1))
