"""A registered picture cannot be drawn again, until it is taken out."""

import pytest

from scrollintel.visual import SafetyCategory, SafetyError, VisualClient
from tests.mesh.quick import QUICK


async def test_a_protected_picture_is_not_drawn_again(client: VisualClient) -> None:
    first = await client.generate_image("a red apple", seed=23, **QUICK).result()
    work = await client.protect(first.assets[0], holder="a painter")
    try:
        with pytest.raises(SafetyError) as caught:
            await client.generate_image("a red apple", seed=23, **QUICK).result()
    finally:
        await client.remove_protected_work(work)
    (finding,) = [found for found in caught.value.findings if found.checker == "protected_works/1"]
    assert finding.category is SafetyCategory.COPYRIGHT
    assert f"protected work {work}, distance " in finding.evidence
    assert (await client.generate_image("a red apple", seed=23, **QUICK).result()).assets
