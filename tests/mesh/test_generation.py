"""A prompt in, a picture out, through every server."""

import io

import numpy as np
import pytest
from PIL import Image

from scrollintel.visual import (
    Completed,
    Output,
    Preview,
    Routed,
    Scored,
    Stage,
    Step,
    Upscale,
    VisualClient,
)
from tests.mesh.quick import HEAD, QUICK, assert_sound, draw_steps
from tests.mesh.shown import shown


async def collected(generation):
    events = [event async for event in generation]
    assert_sound(events)
    return events


async def test_every_moment_is_told_in_order_and_the_picture_is_there(client: VisualClient):
    generation = client.generate_image("a red apple", style="icon", seed=7, **QUICK)
    events = await collected(generation)
    firsts = {kind: next(i for i, event in enumerate(events) if isinstance(event, kind)) for kind in HEAD}
    assert list(firsts.values()) == sorted(firsts.values()), [type(event).__name__ for event in events]
    assert [(step.k, step.n) for step in draw_steps(events)] == [(k, 4) for k in range(1, 5)]
    routed = next(event for event in events if isinstance(event, Routed))
    assert routed.chosen.model == "text_to_image_house"
    assert routed.reasons[-1] == "draws from its own wording of the prompt"
    result = await generation.result()
    assert result.model_used == "text_to_image_house"
    assert result.seconds > 0
    assert len(result.provenance) == 64
    (asset,) = result.assets
    picture = Image.open(io.BytesIO(await asset.read()))
    assert picture.size == (256, 256)
    assert np.asarray(picture).std() > 10, "a picture is not one colour"
    assert asset.metadata["prompt"] == "a red apple"
    assert asset.metadata["enhanced_prompt"] == "a red apple, icon"
    assert asset.seed == 7


async def test_scores_are_measured_in_range_and_say_by_what(client: VisualClient):
    generation = client.generate_image("a red apple", seed=7, **QUICK)
    events = await collected(generation)
    (scored,) = [event for event in events if isinstance(event, Scored)]
    measured = dict(scored.quality.measured())
    assert {
        "overall",
        "technical",
        "prompt_adherence",
        "sharpness",
        "color_balance",
        "composition",
        "safety",
    } <= set(measured)
    assert all(0 <= score.value <= 1 and score.measured_by for score in measured.values())
    assert "aesthetic" not in measured, "what was not measured is absent"
    assert (await generation.result()).quality.overall is not None


async def test_stages_end_before_the_picture_is_told(client: VisualClient):
    events = await collected(client.generate_image("a red apple", seed=7, **QUICK))
    order = [event.stage if isinstance(event, Step) else type(event) for event in events]
    assert (
        order.index(Stage.UPSCALE) < order.index(Stage.CHECK) < order.index(Output) < order.index(Completed)
    )


async def test_previews_come_when_asked_for_and_not_otherwise(client: VisualClient):
    silent = await collected(client.generate_image("a red apple", seed=7, **QUICK))
    assert not any(isinstance(event, Preview) for event in silent)
    events = await collected(
        client.generate_image("a red apple", seed=7, previews=True, **QUICK | {"steps": 8})
    )
    previews = [event for event in events if isinstance(event, Preview)]
    assert previews
    for preview in previews:
        assert Image.open(io.BytesIO(preview.image)).size == (64, 64)
        assert len(preview.image) <= 64 << 10


async def test_equal_seeds_give_equal_pixels_and_another_seed_does_not(client: VisualClient):
    async def draw(seed: int) -> list[str]:
        result = await client.generate_image("a smiling cat", seed=seed, num_images=4, **QUICK).result()
        assert [asset.seed for asset in result.assets] == [seed, seed + 1, seed + 2, seed + 3]
        return [await shown(asset) for asset in result.assets]

    first, again, other = await draw(7), await draw(7), await draw(107)
    assert first == again
    assert len(set(first)) == 4
    assert not set(first) & set(other)


async def test_one_picture_of_four_is_the_one_drawn_alone(client: VisualClient):
    four = await client.generate_image("a smiling cat", seed=7, num_images=4, **QUICK).result()
    alone = await client.generate_image("a smiling cat", seed=9, **QUICK).result()
    one, other = [
        np.asarray(Image.open(io.BytesIO(await asset.read())), dtype=int)
        for asset in (four.assets[2], alone.assets[0])
    ]
    # A batch is one pass through the network, whose sums may round differently; the picture is the same.
    assert np.abs(one - other).mean() < 2


async def test_a_request_that_is_repeated_draws_nothing_twice(client: VisualClient):
    first = client.generate_image("a red apple", request_id="once-only", **QUICK)
    result = await first.result()
    again = client.generate_image("a red apple", request_id="once-only", **QUICK)
    assert (await again.result()).assets == result.assets
    assert again.id == first.id


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 2048, "height": 2048}, (2048, 2048)),
        ({"width": 256, "height": 2048}, (256, 2048)),
        ({"aspect_ratio": "16:9"}, (1024, 576)),
        ({"width": 384, "aspect_ratio": "3:4"}, (384, 512)),
        ({"width": 257, "height": 511}, (257, 511)),
    ],
    ids=str,
)
async def test_sizes_are_met_to_the_pixel(client: VisualClient, asked: dict, size: tuple[int, int]):
    result = await client.generate_image("a red apple", seed=7, steps=2, **asked).result()
    (asset,) = result.assets
    picture = Image.open(io.BytesIO(await asset.read()))
    assert picture.size == size == (asset.media.width, asset.media.height)


async def test_what_was_made_can_be_enlarged_and_uploads_too(client: VisualClient, tmp_path):
    made = (await client.generate_image("a red apple", seed=7, **QUICK).result()).assets[0]
    larger = await client.enhance_image(made, Upscale(factor=2)).result()
    assert (larger.assets[0].media.width, larger.assets[0].media.height) == (512, 512)
    file = tmp_path / "small.png"
    Image.fromarray(np.random.default_rng(7).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(file)
    uploaded = await client.upload(file, metadata={"of": "noise"})
    assert (await client.asset(uploaded.id)).metadata["of"] == "noise"
    assert await uploaded.read() == file.read_bytes()
    sized = await client.enhance_image(uploaded, Upscale(width=100, height=100)).result()
    assert (sized.assets[0].media.width, sized.assets[0].media.height) == (100, 100)
