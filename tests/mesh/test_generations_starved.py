"""Generations on models that are loaded on demand, on little memory: each one ends exactly once, and the next one works."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from scrollintel.visual import (
    Completed,
    Event,
    Failed,
    GenerationCancelledError,
    ModelError,
    ResourceError,
    Routed,
    VisualClient,
    VisualMeshError,
)
from services.local.mesh import LocalMesh, local_mesh
from services.local.settings import ANYWHERE, LocalSettings
from services.models.catalogue import read_catalogue
from services.models.entry import Residency
from services.models.presence import served_repository
from services.runtime.workers import find_workers
from tests.mesh import tiny_painter
from tests.mesh.quick import assert_sound
from tests.mesh.test_cancel import until_step

PAINTERS = ("painter-one", "painter-two", "painter-three")
PAINTER_MIB = 2000
PINNED_MIB = sum(
    model.memory_mib
    for model in read_catalogue().values()
    if model.residency is Residency.PINNED and not model.optional
)
# Two painters beside the pinned models; the rest of it is for those that turn out larger than declared.
BUDGET_MIB = PINNED_MIB + 2 * PAINTER_MIB + PAINTER_MIB // 2
SIZE = {"width": 256, "height": 256}
TOO_MANY = 8
PATIENCE = 60.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, model_repository: Path) -> Path:
    """A home with what is always built, and the painters."""
    home = tmp_path_factory.mktemp("starved")
    for name in ("builds", "weights"):
        (home / name).symlink_to(model_repository.parent / name)
    served_repository(home).mkdir()
    for model in read_catalogue().values():
        link = model_repository / model.name
        if not model.optional and link.is_symlink():
            (served_repository(home) / model.name).symlink_to(link.readlink())
    for name in PAINTERS:
        tiny_painter.write(home, name, PAINTER_MIB)
    return home


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def starved(home: Path) -> AsyncIterator[tuple[LocalMesh, VisualClient]]:
    settings = LocalSettings(
        home=home,
        listen=ANYWHERE,
        servers={
            "models": {"memory_mib": BUDGET_MIB, "poll_seconds": 0.5},
            "orchestrator": {"running": 8, "waiting": 16},
        },
    )
    async with local_mesh(settings) as mesh, VisualClient(mesh.address) as client:
        yield mesh, client


async def told(client: VisualClient, model: str, **spec: int) -> list[Event]:
    generation = client.generate_image("a red apple", model_preference=model, **{"steps": 3} | SIZE | spec)
    events = [event async for event in generation]
    assert_sound(events)
    return events


def error_of(events: list[Event]) -> VisualMeshError | None:
    return events[-1].error if isinstance(events[-1], Failed) else None


async def patient(client: VisualClient, model: str) -> list[list[Event]]:
    """Ask again as the errors advise until it works; returns what every attempt was told."""
    attempts = []
    async with asyncio.timeout(PATIENCE):
        while True:
            attempts.append(await told(client, model))
            error = error_of(attempts[-1])
            if error is None:
                return attempts
            assert isinstance(error, ModelError | ResourceError), error
            assert error.retry_after, error
            await asyncio.sleep(min(error.retry_after, 0.5))


async def test_a_model_that_is_not_loaded_is_loaded_for_the_request(starved) -> None:
    mesh, client = starved
    assert not painters(mesh)
    events = await told(client, "painter-one")
    assert isinstance(events[-1], Completed)
    routed = next(event for event in events if isinstance(event, Routed))
    assert routed.chosen.model == "painter-one"
    assert painters(mesh) == {"painter-one"}


async def test_out_of_memory_fails_that_request_alone_and_the_next_one_has_a_fresh_process(starved) -> None:
    mesh, client = starved
    await patient(client, "painter-one")
    (before,) = processes(mesh, "painter-one")
    error = error_of(await told(client, "painter-one", num_images=TOO_MANY))
    assert isinstance(error, ResourceError)
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY")
    assert error.retry_after
    attempts = await patient(client, "painter-one")
    assert len(attempts) == 1, "who asks again waits for the fresh process"
    (after,) = processes(mesh, "painter-one")
    assert after != before
    assert mesh.triton.restarts == 0


async def test_three_models_share_room_for_two(starved) -> None:
    mesh, client = starved
    every = await asyncio.gather(*(patient(client, name) for name in PAINTERS))
    refusals = [error for attempts in every for events in attempts if (error := error_of(events))]
    assert all(isinstance(error, ResourceError) for error in refusals), refusals
    assert len(painters(mesh)) <= 2


async def test_cancelled_while_its_model_loads(starved) -> None:
    mesh, client = starved
    missing = next(name for name in PAINTERS if name not in painters(mesh))
    doomed = client.generate_image("a red apple", model_preference=missing, steps=3, **SIZE)
    events = []
    async for event in doomed:
        events.append(event)
        if isinstance(event, Routed):
            await doomed.cancel()
    assert_sound(events)
    with pytest.raises(GenerationCancelledError):
        await doomed.result()
    await patient(client, missing)


async def test_its_worker_killed_in_the_middle(starved) -> None:
    mesh, client = starved
    await patient(client, "painter-one")
    generation = client.generate_image("a red apple", model_preference="painter-one", steps=100, **SIZE)
    events = await until_step(generation)
    for pid in processes(mesh, "painter-one"):
        os.kill(pid, signal.SIGKILL)
    events += [event async for event in generation]
    assert_sound(events)
    error = error_of(events)
    assert isinstance(error, ModelError)
    assert error.retry_after
    await patient(client, "painter-one")
    assert mesh.triton.restarts == 0


async def test_triton_killed_under_models_that_draw_and_one_that_loads(starved) -> None:
    mesh, client = starved
    await patient(client, "painter-one")
    drawing = [
        client.generate_image("a red apple", model_preference="painter-one", steps=100, **SIZE)
        for _ in range(2)
    ]
    told_before = [await until_step(generation, 1) for generation in drawing[:1]]
    loading = asyncio.create_task(told(client, "painter-two"))
    await asyncio.sleep(0.3)
    assert mesh.triton.pid
    os.kill(mesh.triton.pid, signal.SIGKILL)
    for generation, events in zip(drawing, [*told_before, []], strict=True):
        events += [event async for event in generation]
        assert_sound(events)
        assert isinstance(events[-1], Failed)
    await loading
    await patient(client, "painter-one")
    assert mesh.triton.restarts == 1


def processes(mesh: LocalMesh, model: str) -> list[int]:
    assert mesh.triton.pid
    return [pid for pid, name in find_workers(mesh.triton.pid).items() if name == model]


def painters(mesh: LocalMesh) -> set[str]:
    assert mesh.triton.pid
    return set(find_workers(mesh.triton.pid).values()) & set(PAINTERS)
