"""Models that are better given another prompt get it, checked, and the asset says what was drawn."""

import pytest

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.prompt_pb2 import PromptWording
from scrollintel.visual.v1.router_pb2 import ExecuteRequest
from services.orchestrator import defaults, pipeline
from services.orchestrator.pipeline import Work
from services.runtime.errors import MeshError
from tests.unit.orchestrator.scripted import ScriptedSteps, image_request

PROSE = PromptWording(models=["gpt-image-*"], prompt="a smiling cat. Style: watercolor.")
AS_TYPED = PromptWording(models=["text_to_image_house"], prompt="a smiling cat")


class WordedSteps(ScriptedSteps):
    """Steps whose prompt server words the prompt for other models too, and that remember what was checked."""

    def __init__(self, *wordings: PromptWording, unsafe: str = "") -> None:
        super().__init__()
        self.wordings, self.unsafe = wordings, unsafe
        self.checked: list[str] = []

    async def check_prompt(self, prompt, negative_prompt):
        self.checked.append(prompt)
        if prompt == self.unsafe:
            raise MeshError(errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE, "away")
        return await super().check_prompt(prompt, negative_prompt)

    async def enhance_prompt(self, image):
        answer = await super().enhance_prompt(image)
        answer.wordings.extend(self.wordings)
        return answer


async def run(steps: ScriptedSteps, **fields):
    spec = defaults.fill(image_request(**fields).spec, seed=lambda: 7)
    return await pipeline.run(Work("gen-1", spec), steps, lambda event: None)


def sent(steps: ScriptedSteps) -> ExecuteRequest:
    return next(one for one in steps.requests if isinstance(one, ExecuteRequest))


async def test_every_wording_is_checked_once_and_goes_to_the_router():
    steps = WordedSteps(AS_TYPED, PROSE)
    await run(steps)
    assert steps.checked == ["a smiling cat", "a smiling cat, watercolor", PROSE.prompt]
    assert list(sent(steps).wordings) == [AS_TYPED, PROSE]
    assert sent(steps).image.prompt == "a smiling cat, watercolor"


@pytest.mark.parametrize(
    ("model", "drawn"),
    [
        ("text_to_image_house", "a smiling cat"),
        ("gpt-image-2", PROSE.prompt),
        ("sdxl", "a smiling cat, watercolor"),
    ],
)
async def test_the_asset_says_what_its_model_was_given(model, drawn):
    made = await run(WordedSteps(AS_TYPED, PROSE), model_preference=model)
    assert made.assets[0].metadata["enhanced_prompt"] == drawn


async def test_a_wording_that_could_not_be_checked_is_not_drawn():
    steps = WordedSteps(AS_TYPED, PROSE, unsafe=PROSE.prompt)
    with pytest.raises(MeshError) as caught:
        await run(steps)
    assert caught.value.name == "SAFETY_UNCHECKED"
    assert steps.calls["routed"] == 0
