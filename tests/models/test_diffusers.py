"""Diffusers pipelines on the real Triton, of random weights: diffusers' own pictures, limits, cancellation, memory."""

import asyncio
import json
import resource
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.local.triton import Triton, TritonSettings
from services.runtime.workers import find_workers
from tests.models.calls import Step, cpu_seconds, draw_steps, drawing_inputs, tensor
from tests.models.diffusers_fixture import Image, built, compare, generators, pictures, pipeline

pytest.importorskip("diffusers")  # a first session exports what is served

MODELS = ("sdxl-test", "sd3-test")
LARGE, SPARE = (1024, 1024), 16 << 20
PROMPT = "a photograph of an astronaut riding a horse"
pytestmark = pytest.mark.timeout(600)  # the first session exports what is served


def stage(repository: Path, served: Path) -> None:
    """What is served: the builds, of which the first also draws a size that takes hundreds of megabytes."""
    changed, *others = MODELS
    for model in others:
        (served / model).symlink_to((repository / model).resolve())
    shutil.copytree(repository / changed, served / changed)
    file = served / changed / "1" / "pipeline.json"
    pipeline = json.loads(file.read_text())
    file.write_text(json.dumps(pipeline | {"sizes": [*pipeline["sizes"], list(LARGE)]}))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Triton]:
    repository = tmp_path_factory.mktemp("repository")
    await asyncio.to_thread(stage, await asyncio.to_thread(built, *MODELS), repository)
    async with Triton(TritonSettings(tmp_path_factory.mktemp("diffusers"), repository)) as triton:
        await triton.wait_ready(60)
        yield triton


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def caller(server: Triton) -> AsyncIterator[InferenceServerClient]:
    client = InferenceServerClient(server.grpc_address)
    yield client
    await client.close()


async def steps_of(
    client: InferenceServerClient,
    model: str,
    prompt: str = PROMPT,
    seeds: tuple[int, ...] = (7,),
    **options: Any,
) -> list[Step]:
    inputs = drawing_inputs(
        prompt,
        seeds,
        **{name: options[name] for name in options if name not in ("size", "image", "strength")},
    )
    if "size" in options:
        inputs.append(tensor("size", np.array(options["size"], np.int32)))
    if "image" in options:
        inputs.append(tensor("image", options["image"]))
    async with aclosing(draw_steps(client, inputs, model)) as steps:
        return [step async for step in steps]


async def drawn(client: InferenceServerClient, model: str, **options: Any) -> Image:
    return np.asarray((await steps_of(client, model, **options))[-1].images)


@pytest.mark.parametrize(("model", "size"), [("sdxl", (192, 128)), ("sd3", (128, 192))])
async def test_pictures_are_those_of_diffusers(
    caller: InferenceServerClient, capsys: pytest.CaptureFixture[str], model: str, size: tuple[int, int]
) -> None:
    """SDXL by Euler, SD3 by flow matching: guidance, a negative prompt, two seeds, a size that is not the first."""
    served = await drawn(
        caller,
        f"{model}-test",
        seeds=(7, 8),
        steps=5,
        guidance_scale=6.0,
        negative_prompt="blurry, grey",
        size=size,
    )
    expected = await asyncio.to_thread(
        pictures,
        pipeline(model),
        prompt=[PROMPT] * 2,
        negative_prompt=["blurry, grey"] * 2,
        num_inference_steps=5,
        guidance_scale=6.0,
        width=size[0],
        height=size[1],
        generator=generators(7, 8),
    )
    compare(served, expected, f"{model} on Triton, {size[0]}x{size[1]}", capsys)


async def test_a_response_for_each_step_and_images_in_the_last(caller: InferenceServerClient) -> None:
    steps = await steps_of(caller, "sdxl-test", seeds=(1, 2), steps=5, preview_every=2)
    assert [(step.number, step.of) for step in steps] == [(k, 5) for k in range(1, 6)]
    assert [len(step.preview) for step in steps] == [0, 2, 0, 2, 0]
    assert steps[1].preview.shape == (2, 16, 16, 3)
    assert [len(step.images) for step in steps] == [0, 0, 0, 0, 2]
    assert steps[-1].images.shape == (2, 128, 128, 3)


async def test_prompt_negative_prompt_and_guidance_all_count(caller: InferenceServerClient) -> None:
    plain, *others = await asyncio.gather(
        drawn(caller, "sdxl-test"),
        drawn(caller, "sdxl-test", prompt="a cat"),
        drawn(caller, "sdxl-test", negative_prompt="a horse"),
        drawn(caller, "sdxl-test", guidance_scale=1.0),
        drawn(caller, "sdxl-test", seeds=(8,)),
    )
    for other in others:
        assert np.abs(plain.astype(int) - other).mean() > 1


async def test_callers_that_share_the_denoiser_get_their_own_pictures(caller: InferenceServerClient) -> None:
    """Of two sizes at once and beside another seed: as alone, but for the last bit."""
    alone = await drawn(caller, "sdxl-test", seeds=(5,))
    together = await asyncio.gather(
        drawn(caller, "sdxl-test", seeds=(4, 5)),
        drawn(caller, "sdxl-test", seeds=(5,)),
        drawn(caller, "sdxl-test", seeds=(5,), size=(192, 128)),
    )
    assert np.abs(together[0][1].astype(int) - alone[0]).max() <= 1
    assert np.abs(together[1].astype(int) - alone).max() <= 1
    assert together[2].shape == (1, 128, 192, 3)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"size": (128, 136)}, "size: must be one of 128x128, 192x128, 128x192, 1024x1024; 128x136 given"),
        ({"steps": 0}, "steps: must be 1 to 150; 0 given"),
        ({"steps": 151}, "steps: must be 1 to 150; 151 given"),
        ({"seeds": (1, 2, 3, 4, 5)}, "seeds: 1 to 4, one per image; 5 given"),
        ({"seeds": (-1,)}, "seeds: must not be negative"),
        ({"guidance_scale": float("nan")}, "guidance_scale: must be 0 to 30; nan given"),
        ({"image": np.zeros((128, 128, 3), np.uint8)}, "image: this model draws from text alone"),
    ],
)
async def test_bad_tensors_are_refused(
    caller: InferenceServerClient, change: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        await drawn(caller, "sdxl-test", **change)
    assert caught.value.message() == rule


def worker_of(server: Triton, model: str) -> int:
    assert server.pid is not None
    (worker,) = [pid for pid, name in find_workers(server.pid).items() if name == model]
    return worker


async def test_cancelling_stops_before_the_next_step(caller: InferenceServerClient, server: Triton) -> None:
    worker = worker_of(server, "sdxl-test")
    before = cpu_seconds(worker)
    async with aclosing(
        draw_steps(caller, drawing_inputs(PROMPT, range(4), steps=100), "sdxl-test")
    ) as drawing:
        async for step in drawing:
            if step.number == 5:
                break
    five_steps = cpu_seconds(worker) - before
    await asyncio.sleep(five_steps + 0.2)  # the step in progress may end
    idle_from = cpu_seconds(worker)
    await asyncio.sleep(0.5)
    assert cpu_seconds(worker) - idle_from <= 0.02
    assert cpu_seconds(worker) - before < five_steps * 3  # of the 20 times that it would have taken


async def test_a_full_queue_refuses_at_once(caller: InferenceServerClient) -> None:
    """Two are drawn and eight wait; the eleventh is told."""

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await drawn(caller, "sdxl-test", seeds=(1, 2, 3, 4), steps=150)

    async def refused() -> None:
        await asyncio.sleep(1)
        with pytest.raises(InferenceServerException) as caught:
            await drawn(caller, "sdxl-test")
        assert caught.value.message().startswith("the queue is full")

    await asyncio.gather(*(cancelled() for _ in range(10)), refused())
    async with asyncio.timeout(10):  # Triton tells the model of a cancellation about half a second after it
        while True:
            try:
                picture = await drawn(caller, "sdxl-test")
                break
            except InferenceServerException as full:
                if not full.message().startswith("the queue is full"):
                    raise
                await asyncio.sleep(0.1)
    assert picture.shape == (1, 128, 128, 3)


def data_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmData:")[1].split()[0]) << 10


async def test_out_of_memory_is_told_and_survived(caller: InferenceServerClient, server: Triton) -> None:
    expected = await drawn(caller, "sdxl-test")
    worker = worker_of(server, "sdxl-test")
    resource.prlimit(worker, resource.RLIMIT_DATA, (data_bytes(worker) + SPARE, resource.RLIM_INFINITY))
    try:
        with pytest.raises(InferenceServerException) as caught:
            await drawn(caller, "sdxl-test", size=LARGE)
    finally:
        resource.prlimit(worker, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert caught.value.message() == "out of memory: ask for fewer images at once or a smaller size"
    again = await drawn(caller, "sdxl-test")
    assert np.abs(again.astype(int) - expected).max() <= 1  # each row by itself for a while
    assert worker_of(server, "sdxl-test") == worker
