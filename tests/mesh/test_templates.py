"""A template of one's own, from the client through the mesh to a picture; and a video's frames to their scores."""

import numpy as np
import pytest

from scrollintel.visual import Hole, NotFoundError, PromptError, VisualClient
from tests.mesh.quick import QUICK


async def test_a_template_of_ones_own_is_found_filled_and_drawn(client: VisualClient) -> None:
    fruit = Hole("fruit", "which fruit", "", example="apple", max_length=20)
    kept = await client.add_template(
        "a red {fruit}", title="Fruit", holes=[fruit], template_id="own-fruit", category="food"
    )
    try:
        food = await client.templates(category="food")
        assert food[-1] == kept
        assert not food.own_unavailable
        assert "own-fruit" in [template.id for template in await client.templates("red fruit")]
        filled = await client.fill_template("own-fruit", {"fruit": "cherry"})
        result = await client.generate_image(filled.prompt, seed=7, **QUICK).result()
        assert result.assets[0].metadata["prompt"] == "a red cherry"
        with pytest.raises(PromptError) as caught:
            await client.add_template("a {fruit}", title="Fruit", holes=[fruit], template_id="own-fruit")
        assert caught.value.field == "id"
    finally:
        await client.remove_template("own-fruit")
    with pytest.raises(NotFoundError):
        await client.fill_template("own-fruit", {"fruit": "cherry"})


async def test_a_video_is_scored_by_its_frames(client: VisualClient) -> None:
    wide = np.random.default_rng(5).integers(0, 256, (64, 96, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    quality = await client.score_video([wide[:, step : step + 128] for step in range(4)])
    assert quality.temporal_consistency is not None
    assert quality.motion_smoothness is not None
    assert quality.prompt_adherence is None
