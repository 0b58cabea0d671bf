"""What every backend adapter must do, run on each: the scripted one of the tests and the real Triton."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio

from router.backends.protocol import Backend, Job, Output, Preview, Step
from router.backends.triton import TritonBackend
from router.entries import BackendEntry, load_entries
from router.settings import BACKENDS_FILE
from router.sizes import Size
from router.snapshot import State
from services.local.triton import Triton
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.models import Models
from services.runtime.triton import TritonClient
from tests.contract.processor_time import processor_seconds
from tests.contract.scripted_mesh import NOWHERE
from tests.unit.router.scripted import ScriptedBackend, entry

STEPS = 12


@dataclass(frozen=True)
class Adapter:
    """A backend at work, one that is away, one without weights, and the work done so far.

    `work` counts what drawing uses up (steps, or seconds of processor time); less than `idle` in a second is rest.
    """

    entry: BackendEntry
    backend: Backend
    away: Backend
    bare: Backend
    work: Callable[[], float]
    idle: float


@pytest.fixture
def scripted_adapter() -> Adapter:
    one = entry(sizes=[(64, 64)])
    backend = ScriptedBackend(one)
    away, bare = ScriptedBackend(one, State.UNAVAILABLE), ScriptedBackend(one, State.NEEDS_WEIGHTS)
    return Adapter(one, backend, away, bare, lambda: backend.steps, idle=1)


@pytest_asyncio.fixture
async def triton_adapter(triton: Triton) -> AsyncIterator[Adapter]:
    (one,) = load_entries(BACKENDS_FILE)
    absent = one.model_copy(update={"model": "text_to_image_absent"})
    async with (
        TritonClient(triton.grpc_address) as client,
        TritonClient(NOWHERE) as nobody,
        connect(NOWHERE) as models,
    ):
        unleased = Models(models)  # what is not on demand asks for no lease
        yield Adapter(
            one,
            TritonBackend(one, client, unleased),
            TritonBackend(one, nobody, unleased),
            TritonBackend(absent, client, unleased),
            lambda: processor_seconds(triton.pid or 0),
            idle=0.2,
        )


@pytest.fixture(params=["scripted", "triton"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return request.getfixturevalue(f"{request.param}_adapter")


def job(**changes: object) -> Job:
    values = {
        "request_id": "request-1",
        "prompt": "a red apple",
        "negative_prompt": "",
        "seeds": (7,),
        "steps": STEPS,
        "guidance_scale": 2.5,
        "size": Size(64, 64),
    }
    return Job(**(values | changes))


async def run(backend: Backend, one: Job, timeout: float = 60) -> list:
    async with aclosing(backend.execute(one, timeout)) as events:
        return [event async for event in events]


async def test_it_is_ready_and_says_what_it_can_do(adapter):
    assert await adapter.backend.probe() is State.READY
    can, limits = adapter.backend.capabilities, adapter.entry.limits
    assert (can.modality, can.max_steps, can.max_images) == (
        adapter.entry.modality,
        limits.steps,
        limits.images,
    )


async def test_each_step_is_told_in_order_and_each_seed_gives_a_picture(adapter):
    events = await run(adapter.backend, job(seeds=(7, 8, 9)))
    assert events[:STEPS] == [Step(k, STEPS) for k in range(1, STEPS + 1)]
    outputs = events[STEPS:]
    assert all(isinstance(output, Output) for output in outputs)
    assert [(output.index, output.seed) for output in outputs] == [(0, 7), (1, 8), (2, 9)]
    size = (64, 64, 3)
    assert {(output.pixels.shape, output.pixels.dtype.name) for output in outputs} == {(size, "uint8")}


async def test_previews_come_when_asked_for_and_never_with_the_last_step(adapter):
    events = await run(adapter.backend, job(seeds=(7, 8), preview_every=4))
    shown = [
        (previous.k, event.index)
        for previous, event in zip([Step(0, 0), *events], events, strict=False)
        if isinstance(event, Preview) and isinstance(previous, Step)
    ]
    assert shown == [(4, 0), (8, 0)]
    previews = [event for event in events if isinstance(event, Preview)]
    assert [preview.index for preview in previews] == [0, 1, 0, 1]
    for preview in previews:
        assert (preview.pixels.ndim, preview.pixels.shape[2], preview.pixels.dtype) == (3, 3, np.uint8)
    assert not any(isinstance(event, Preview) for event in await run(adapter.backend, job()))


async def test_a_seed_is_a_picture(adapter):
    async def draw(seed: int) -> np.ndarray:
        return (await run(adapter.backend, job(seeds=(seed,))))[-1].pixels

    first = await draw(7)
    assert np.array_equal(first, await draw(7))
    assert not np.array_equal(first, await draw(8))


async def test_closing_stops_it_before_its_next_step(adapter):
    before, most = adapter.work(), adapter.entry.limits.steps
    work = job(seeds=(7, 8, 9, 10), steps=most)
    async with aclosing(adapter.backend.execute(work, timeout=60)) as events:
        async for event in events:
            if event == Step(3, most):
                break
    assert adapter.work() - before > adapter.idle, "it did work"
    for _ in range(8):  # the step under way ends
        before = adapter.work()
        await asyncio.sleep(1)
        if adapter.work() - before < adapter.idle:
            break
    else:
        pytest.fail("it never rests")
    assert len(await run(adapter.backend, job())) == STEPS + 1


async def test_too_little_time_is_a_deadline(adapter):
    with pytest.raises(MeshError) as caught:
        await run(adapter.backend, job(steps=100), timeout=0.0005)
    assert caught.value.name == "DEADLINE_EXCEEDED"


async def test_away_is_told_and_may_be_tried_again(adapter):
    assert await adapter.away.probe() is State.UNAVAILABLE
    with pytest.raises(MeshError) as caught:
        await run(adapter.away, job())
    assert caught.value.name == "MODEL_UNAVAILABLE"
    assert caught.value.retry_after > 0


async def test_without_weights_is_not_away(adapter):
    assert await adapter.bare.probe() is State.NEEDS_WEIGHTS
