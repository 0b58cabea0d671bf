"""Models compared on the real mesh: what can draw does, and what cannot says why."""

import pytest

from scrollintel.visual import Completed, Failed, NotFoundError, VisualClient
from services.local.mesh import LocalMesh
from tests.mesh.quick import QUICK, assert_sound, draw_steps
from tests.mesh.shown import shown

HOUSE = "text_to_image_house"


async def test_one_draws_and_the_one_without_weights_says_how_to_get_them(
    mesh: LocalMesh, client: VisualClient
) -> None:
    found: dict[str, list] = {}
    comparison = client.compare_models("a red apple", models=[HOUSE, "sdxl"], seed=7, **QUICK)
    async for model, event in comparison:
        found.setdefault(model, []).append(event)
    results = await comparison.results()
    assert list(results) == [HOUSE, "sdxl"]
    for events in found.values():
        assert_sound(events)
    assert isinstance(found[HOUSE][-1], Completed)
    assert len(draw_steps(found[HOUSE])) == QUICK["steps"]
    assert results[HOUSE].assets[0].seed == 7
    assert results[HOUSE].model_used == HOUSE
    assert isinstance(found["sdxl"][-1], Failed)
    assert results["sdxl"].reason == "MODEL_NEEDS_WEIGHTS"
    assert "vmesh models build sdxl" in results["sdxl"].message


async def test_what_it_draws_is_what_a_generation_draws(client: VisualClient) -> None:
    compared = await client.compare_models("a blue heart", models=[HOUSE, "sdxl"], seed=3, **QUICK).results()
    alone = await client.generate_image("a blue heart", seed=3, model_preference=HOUSE, **QUICK).result()
    assert await shown(compared[HOUSE].assets[0]) == await shown(alone.assets[0])


async def test_what_was_drawn_can_be_rated_and_nothing_else(client: VisualClient) -> None:
    result = await client.generate_image("a green tree", seed=3, model_preference=HOUSE, **QUICK).result()
    await client.rate(result.id, 5)
    with pytest.raises(NotFoundError, match="generation_id"):
        await client.rate("gen-unknown", 5)
