"""The house model on the real Triton: shapes, repeatability, guidance, limits, cancellation."""

import asyncio
import time
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.local.triton import Triton
from services.models.build import REPOSITORY
from services.runtime.workers import find_workers
from tests.models.calls import cpu_seconds, draw, draw_steps, drawing_inputs, infer, texts

MODEL = "text_to_image_house"


async def test_a_response_for_each_step_and_images_in_the_last(client: InferenceServerClient) -> None:
    steps = await draw(client, "a red apple", [1, 2, 3], steps=5, preview_every=2)
    assert [(step.number, step.of) for step in steps] == [(k, 5) for k in range(1, 6)]
    assert [len(step.preview) for step in steps] == [0, 3, 0, 3, 0]
    assert steps[1].preview.shape == (3, 64, 64, 3)
    assert [len(step.images) for step in steps] == [0, 0, 0, 0, 3]
    assert steps[-1].images.shape == (3, 64, 64, 3)
    assert steps[-1].images.dtype == np.uint8


async def test_no_previews_unless_asked_for(client: InferenceServerClient) -> None:
    assert all(step.preview.size == 0 for step in await draw(client, "a key", [1]))


async def test_a_single_step_is_a_whole_drawing(client: InferenceServerClient) -> None:
    (step,) = await draw(client, "a cat", [7], steps=1, preview_every=1)
    assert step.images.shape == (1, 64, 64, 3)


async def test_a_seed_gives_the_same_picture_whatever_is_drawn_beside_it(
    client: InferenceServerClient,
) -> None:
    alone = (await draw(client, "a red apple", [5]))[-1].images[0]
    again, *_ = await asyncio.gather(
        draw(client, "a red apple", [5]),
        draw(client, "a long and winding prompt about ships, storms and the men who sail them", [9]),
        infer(client, "text_embedding", text=texts(*["other callers"] * 5)[:, None]),
    )
    batch = (await draw(client, "a red apple", [4, 5, 6]))[-1].images
    np.testing.assert_array_equal(again[-1].images[0], alone)
    np.testing.assert_array_equal(batch[1], alone)
    assert np.abs(batch[0].astype(int) - alone).mean() > 1


async def test_a_picture_does_not_depend_on_whose_rows_share_its_batches(
    client: InferenceServerClient,
) -> None:
    """Callers that come and go, each at another step with another number of pictures: to the last bit."""
    seeds = [7, 8, 9, 10]
    alone = (await draw(client, "a red apple", seeds, steps=6))[-1].images
    others = [
        asyncio.create_task(draw(client, f"prompt {number}", range(number), steps=2 * number))
        for number in range(1, 6)
    ]
    for _ in range(2):
        beside = (await draw(client, "a red apple", seeds, steps=6))[-1].images
        np.testing.assert_array_equal(beside, alone)
    await asyncio.gather(*others)


async def test_large_drawings_do_not_hold_up_a_small_one(client: InferenceServerClient) -> None:
    """Counted in the large ones' own steps, so the machine's speed does not matter.

    The small one is eight rows, a step of a large one is thirty-two; beside two of them it gets a third of the rows.
    """
    seen = [0, 0]

    async def large(number: int) -> None:
        async with aclosing(draw_steps(client, drawing_inputs("a cat", range(16), steps=100))) as steps:
            async for step in steps:
                seen[number] = step.number

    running = [asyncio.create_task(large(number)) for number in range(2)]
    while not all(seen):
        await asyncio.sleep(0.01)
    before = list(seen)
    await draw(client, "a dog", [1], steps=4)
    during = [now - then for now, then in zip(seen, before, strict=True)]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert max(during) <= 2, during


async def test_prompt_negative_prompt_and_guidance_all_count(client: InferenceServerClient) -> None:
    async def picture(prompt: str, **options: object) -> NDArray[np.int64]:
        return np.asarray((await draw(client, prompt, [3], steps=6, **options))[-1].images[0], np.int64)

    apple, train, unlike, unguided = await asyncio.gather(
        picture("a red apple"),
        picture("a train"),
        picture("a red apple", negative_prompt="red"),
        picture("a red apple", guidance_scale=1.0),
    )
    for other in (train, unlike, unguided):
        assert np.abs(apple - other).mean() > 1


async def test_colours_follow_the_prompt(client: InferenceServerClient) -> None:
    """A fact about the pictures themselves: hearts of two colours differ in the middle as their names do."""
    red = (await draw(client, "red heart", [0, 1], steps=12))[-1].images[:, 24:40, 24:40].mean((0, 1, 2))
    green = (await draw(client, "green heart", [0, 1], steps=12))[-1].images[:, 24:40, 24:40].mean((0, 1, 2))
    assert red[0] - red[1] > 60
    assert green[1] - green[0] > 30


async def test_served_drawing_equals_the_sampler_written_out(client: InferenceServerClient) -> None:
    """The reference: the Euler loop in plain numpy on the committed graph."""
    encoded = await infer(client, "text_embedding", text=texts("a yellow star", "")[:, None])
    words, pooled = encoded["token_states"], encoded["pooled"]
    graph = REPOSITORY / MODEL / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    steps, scale = 6, 2.5
    x = np.random.Generator(np.random.PCG64(11)).standard_normal((1, 3, 64, 64), np.float32)
    times = np.linspace(0, 1, steps + 1)
    for now, after in pairwise(times):
        t = np.full(2, now, np.float32)
        guided, plain = session.run(
            ["x"], {"z": np.repeat(x, 2, 0), "t": t, "words": words, "pooled": pooled}
        )[0]
        image = plain + scale * (guided - plain) if now < 0.9 else guided
        x = (x + (image - x) / max(1 - now, 0.05) * (after - now)).astype(np.float32)
    expected = np.clip(np.rint((x[0].transpose(1, 2, 0) + 1) * 127.5), 0, 255)
    served = (await draw(client, "a yellow star", [11], steps=steps))[-1].images[0]
    assert np.abs(served - expected).max() <= 1


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"steps": 0}, "steps: must be 1 to 100; 0 given"),
        ({"steps": 101}, "steps: must be 1 to 100; 101 given"),
        ({"guidance_scale": float("nan")}, "guidance_scale: must be 0 to 30; nan given"),
        ({"guidance_scale": -0.5}, "guidance_scale: must be 0 to 30; -0.5 given"),
        ({"seeds": range(17)}, "seeds: 1 to 16, one per image; 17 given"),
        ({"seeds": []}, "seeds: 1 to 16, one per image; 0 given"),
        ({"seeds": [-1]}, "seeds: must not be negative"),
        ({"preview_every": -1}, "preview_every: must not be negative; -1 given"),
    ],
)
async def test_bad_tensors_are_refused(
    client: InferenceServerClient, change: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        await draw(client, **({"prompt": "a cat", "seeds": [1]} | change))
    assert caught.value.message() == rule


async def test_cancelling_stops_before_the_next_step(client: InferenceServerClient, triton: Triton) -> None:
    assert triton.pid is not None
    (worker,) = [pid for pid, model in find_workers(triton.pid).items() if model == MODEL]
    seeds, steps = range(8), 40
    before = cpu_seconds(worker)
    async with aclosing(draw_steps(client, drawing_inputs("a cat", seeds, steps=steps))) as drawing:
        async for step in drawing:
            if step.number == 3:
                break
    three_steps = cpu_seconds(worker) - before
    await asyncio.sleep(three_steps)  # the step in progress may end
    idle_from = cpu_seconds(worker)
    await asyncio.sleep(0.5)
    assert cpu_seconds(worker) - idle_from <= 0.02
    assert cpu_seconds(worker) - before < three_steps * 2  # of the 40 / 3 times that it would have taken


async def test_a_cancelled_request_in_the_queue_costs_nothing(
    client: InferenceServerClient, triton: Triton
) -> None:
    """Cancelled before their turn came or soon after it, they do not go on."""
    assert triton.pid is not None

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await draw(client, "a cat", range(8), steps=100)

    await asyncio.gather(*(cancelled() for _ in range(24)))
    started = time.monotonic()
    await draw(client, "a dog", [1], steps=2)
    assert time.monotonic() - started < 30  # what was cancelled would have taken minutes


async def test_many_callers_each_get_their_own_picture(client: InferenceServerClient) -> None:
    together = await asyncio.gather(*(draw(client, "a cat", [seed], steps=2) for seed in range(10)))
    for seed in (0, 9):
        alone = await draw(client, "a cat", [seed], steps=2)
        np.testing.assert_array_equal(together[seed][-1].images, alone[-1].images)
