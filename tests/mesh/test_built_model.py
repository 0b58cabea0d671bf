"""A model that is built while the mesh runs: found, loaded when it is asked for, drawn with, killed and unloaded."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from scrollintel.visual import Completed, Failed, ModelError, PromptError, Stage, Step, VisualClient
from services.local.mesh import LocalMesh, local_mesh
from services.local.settings import ANYWHERE, LocalSettings
from services.runtime.workers import find_workers
from tests.mesh.quick import assert_sound, draw_steps
from tests.mesh.shown import shown
from tests.mesh.test_cancel import until_step
from tests.models.diffusers_fixture import built

MODEL = "sdxl-test"
ASKED = {"model_preference": MODEL, "width": 256, "height": 256, "seed": 7}
MANY_STEPS = {"steps": 150, "num_images": 4}
FOUND_SECONDS = 15
BACK_SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mesh(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalMesh]:
    home = tmp_path_factory.mktemp("built")
    (home / "builds").symlink_to(model_repository.parent / "builds")
    (home / "weights").symlink_to(model_repository.parent / "weights")
    shutil.copytree(model_repository, home / "model_repository", symlinks=True)
    async with local_mesh(LocalSettings(home=home, listen=ANYWHERE)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(mesh: LocalMesh) -> AsyncIterator[VisualClient]:
    async with VisualClient(mesh.address) as connected:
        yield connected


async def state_of(client: VisualClient, name: str) -> str:
    return next(model.state for model in await client.models() if model.name == name)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("sdxl", "vmesh models build sdxl --weights"),
        ("wan", "vmesh models build wan --weights"),
        (MODEL, f"vmesh models build {MODEL}"),
    ],
)
async def test_before_it_is_built_whoever_names_it_is_told_how(client: VisualClient, model: str, told: str):
    with pytest.raises((ModelError, PromptError), match=told):
        await client.generate_image("a red apple", model_preference=model).result()


@pytest.mark.timeout(600)  # from nothing, on a busy machine: its four networks are exported here
async def test_once_built_it_is_found_loaded_and_draws(client: VisualClient, mesh: LocalMesh):
    ready = await asyncio.to_thread(built, MODEL)
    (mesh.home / "model_repository" / MODEL).symlink_to((ready / MODEL).resolve())
    async with asyncio.timeout(FOUND_SECONDS):
        while f"triton/{MODEL}" not in [backend.name for backend in await client.backends()]:
            await asyncio.sleep(0.2)
    events = [event async for event in client.generate_image("a smiling cat", steps=4, **ASKED)]
    assert_sound(events)
    assert isinstance(events[-1], Completed)
    assert events[-1].result.model_used == MODEL
    stages = [event.stage for event in events if isinstance(event, Step)]
    assert stages[0] is Stage.LOAD, "it was not in memory"
    assert stages.count(Stage.DRAW) == 4
    assert await state_of(client, MODEL) == "ready"


async def test_warm_it_is_not_loaded_again_and_a_seed_is_a_picture(client: VisualClient):
    runs = []
    for seed in (7, 7, 8):
        events = [event async for event in client.generate_image("a cat", steps=4, **{**ASKED, "seed": seed})]
        assert not any(isinstance(event, Step) and event.stage is Stage.LOAD for event in events)
        runs.append(await shown(events[-1].result.assets[0]))
    assert runs[0] == runs[1] != runs[2]


async def test_random_weights_draw_only_for_those_who_name_them(client: VisualClient):
    result = await client.generate_image("a red apple", steps=4, width=256, height=256).result()
    assert result.model_used == "text_to_image_house"


async def test_a_cancelled_drawing_lets_go_of_the_model(client: VisualClient):
    generation = client.generate_image("a cat", **ASKED, **MANY_STEPS)
    events = await until_step(generation)
    drawn = len(draw_steps(events))
    await generation.cancel()
    events += [event async for event in generation]
    assert_sound(events)
    assert isinstance(events[-1], Failed)
    assert len(draw_steps(events)) <= drawn + 2
    # Nobody holds it any more, so that it goes at once; the next one loads it again.
    assert (await client.unload_model(MODEL)).state == "loadable"
    again = [event async for event in client.generate_image("a cat", steps=4, **ASKED)]
    assert isinstance(again[-1], Completed)
    assert Stage.LOAD in [event.stage for event in again if isinstance(event, Step)]


async def test_its_process_killed_in_the_middle_ends_that_drawing_at_once(
    client: VisualClient, mesh: LocalMesh
):
    generation = client.generate_image("a cat", **ASKED, **MANY_STEPS)
    events = await until_step(generation)
    workers = await asyncio.to_thread(find_workers, mesh.triton.pid or 0)
    (pid,) = [pid for pid, model in workers.items() if model == MODEL]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(BACK_SECONDS):
        events += [event async for event in generation]
        assert_sound(events)
        assert isinstance(events[-1], Failed)
        assert events[-1].error.retry_after
        while True:
            try:
                result = await client.generate_image("a cat", steps=4, **ASKED).result()
                break
            except ModelError as error:
                await asyncio.sleep(min(error.retry_after or 1, 1))
    assert len(result.assets) == 1


async def test_a_build_that_is_removed_is_no_backend_any_more(client: VisualClient, mesh: LocalMesh):
    (mesh.home / "model_repository" / MODEL).unlink()
    async with asyncio.timeout(FOUND_SECONDS):
        while f"triton/{MODEL}" in [backend.name for backend in await client.backends()]:
            await asyncio.sleep(0.2)
    with pytest.raises((ModelError, PromptError)):
        await client.generate_image("a red apple", model_preference=MODEL).result()
