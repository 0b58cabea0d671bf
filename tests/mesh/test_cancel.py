"""However a generation is stopped, the drawing stops before its next step, the events say so, and Triton is idle."""

import asyncio

import pytest

from scrollintel.visual import (
    DeadlineExceededError,
    Failed,
    GenerationCancelledError,
    Step,
    VisualClient,
)
from scrollintel.visual.v1 import generation_pb2, generation_pb2_grpc
from services.local.mesh import LocalMesh
from services.runtime.channels import connect
from tests.mesh.conftest import RUNNING
from tests.mesh.quick import LONG, QUICK, assert_sound, draw_steps
from tests.mesh.triton_idle import busy_share, seconds_until_idle

UNDER_WAY = 2  # the step that was being computed, and one whose event was on its way
NOTICE_SECONDS = 1.0  # from the end of the stream to an idle Triton, with a margin for a busy machine


async def until_step(generation, k=3):
    """Read a generation until it has drawn `k` steps, and return what was read."""
    events = []
    async for event in generation:
        events.append(event)
        if isinstance(event, Step) and event.k >= k:
            return events
    raise AssertionError("it ended before it could be stopped")


async def history(client: VisualClient, generation_id: str):
    """Return every event that the mesh has recorded of an ended generation."""
    events = [event async for event in client.watch(generation_id)]
    assert_sound(events)
    return events


async def assert_stopped(client: VisualClient, mesh: LocalMesh, generation_id: str, drawn: int):
    """Check that no more than the step that was under way came, that the record says so and that Triton is idle."""
    events = await asyncio.wait_for(history(client, generation_id), 10)
    assert isinstance(events[-1], Failed)
    assert len(draw_steps(events)) <= drawn + UNDER_WAY
    assert await seconds_until_idle(mesh.triton.pid) < NOTICE_SECONDS
    return events


async def test_it_is_busy_when_it_draws(client: VisualClient, mesh: LocalMesh):
    """The measure that the other tests trust tells drawing from idling."""
    generation = client.generate_image("a red apple", **LONG)
    await until_step(generation, 1)
    assert await busy_share(mesh.triton.pid) > 0.3
    await generation.cancel()
    with pytest.raises(GenerationCancelledError):
        await generation.result()
    await seconds_until_idle(mesh.triton.pid)


async def test_cancel_by_its_caller(client: VisualClient, mesh: LocalMesh):
    generation = client.generate_image("a red apple", **LONG)
    events = await until_step(generation)
    drawn = len(draw_steps(events))
    await generation.cancel()
    events += [event async for event in generation]
    assert_sound(events)
    assert isinstance(events[-1].error, GenerationCancelledError)
    await assert_stopped(client, mesh, generation.id, drawn)


async def test_cancel_by_somebody_else(client: VisualClient, mesh: LocalMesh):
    generation = client.generate_image("a red apple", **LONG)
    events = await until_step(generation)
    async with VisualClient(mesh.address) as other:
        await other.cancel(generation.id)
        await other.cancel(generation.id)
    with pytest.raises(GenerationCancelledError):
        await generation.result()
    await assert_stopped(client, mesh, generation.id, len(draw_steps(events)))


async def test_the_client_goes_away(client: VisualClient, mesh: LocalMesh):
    async with VisualClient(mesh.address) as leaving:
        generation = leaving.generate_image("a red apple", **LONG)
        events = await until_step(generation)
    await assert_stopped(client, mesh, generation.id, len(draw_steps(events)))


async def test_the_deadline_passes(client: VisualClient, mesh: LocalMesh):
    generation = client.generate_image("a red apple", timeout=1.0, **LONG)
    seen = []

    async def read() -> None:
        async for event in generation:
            seen.append(event)  # noqa: PERF401 - what was seen before the exception counts
        await generation.result()

    with pytest.raises(DeadlineExceededError):
        await read()
    events = await assert_stopped(client, mesh, generation.id, len(draw_steps(seen)))
    assert isinstance(events[-1].error, DeadlineExceededError | GenerationCancelledError)


async def test_one_that_is_cancelled_leaves_the_others_alone(client: VisualClient):
    doomed = client.generate_image("a red apple", **LONG)
    await until_step(doomed, 1)
    other = client.generate_image("a smiling cat", **QUICK)
    await doomed.cancel()
    assert len((await other.result()).assets) == 1


async def test_cancelling_one_that_waits_takes_it_out_of_the_queue(client: VisualClient, mesh: LocalMesh):
    running = [client.generate_image("a red apple", **LONG) for _ in range(RUNNING)]
    for generation in running:
        await until_step(generation, 1)
    waiting = client.generate_image("a smiling cat", **QUICK)
    first = await anext(waiting)
    assert first.position >= 1
    await waiting.cancel()
    with pytest.raises(GenerationCancelledError):
        await asyncio.wait_for(waiting.result(), 20)
    for generation in running:
        await generation.cancel()
    async with connect(mesh.address) as channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        answer = await stub.GetGeneration(generation_pb2.GetGenerationRequest(id=waiting.id))
    assert answer.generation.state == generation_pb2.GENERATION_STATE_CANCELLED
    assert not draw_steps(await history(client, waiting.id))
