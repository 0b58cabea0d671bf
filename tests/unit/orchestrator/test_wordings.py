"""Models that are better given another prompt get it, checked, and the asset says what was drawn."""

import grpc
import pytest

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.events_pb2 import Routed
from scrollintel.visual.v1.prompt_pb2 import EnhancePromptResponse, PromptWording
from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceServicer, add_PromptServiceServicer_to_server
from scrollintel.visual.v1.router_pb2 import ExecuteRequest
from scrollintel.visual.v1.spec_pb2 import ImageSpec
from services.orchestrator import defaults, pipeline
from services.orchestrator.calls import Channels, MeshSteps
from services.orchestrator.pipeline import Work
from services.orchestrator.settings import Settings
from services.runtime.channels import connect
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
    ("model", "drawn", "reasons"),
    [
        ("text_to_image_house", "a smiling cat", ["best", "draws the prompt as it was typed"]),
        ("gpt-image-2", PROSE.prompt, ["best", "draws from its own wording of the prompt"]),
        ("sdxl", "a smiling cat, watercolor", ["best"]),
    ],
)
async def test_the_caller_is_told_what_the_model_was_given(model, drawn, reasons):
    spec = defaults.fill(image_request(model_preference=model).spec, seed=lambda: 7)
    told = []
    made = await pipeline.run(Work("gen-1", spec), WordedSteps(AS_TYPED, PROSE), told.append)
    assert made.assets[0].metadata["enhanced_prompt"] == drawn
    assert [list(event.reasons) for event in told if isinstance(event, Routed)] == [reasons]


async def test_a_wording_that_could_not_be_checked_is_not_drawn():
    steps = WordedSteps(AS_TYPED, PROSE, unsafe=PROSE.prompt)
    with pytest.raises(MeshError) as caught:
        await run(steps)
    assert caught.value.name == "SAFETY_UNCHECKED"
    assert steps.calls["routed"] == 0


class PromptServer(PromptServiceServicer):
    """Answers with what it was asked."""

    async def EnhancePrompt(self, request, context):
        return EnhancePromptResponse(
            prompt=f"{request.prompt} for {request.model} at {request.level}, seed {request.seed}"
        )


async def test_the_prompt_server_is_told_the_model_that_the_caller_named_and_the_seed():
    server = grpc.aio.server()
    add_PromptServiceServicer_to_server(PromptServer(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with connect(address) as channel:
            addresses = {f"{name}_address": address for name in Channels.__dataclass_fields__}
            settings = Settings.model_validate(addresses)
            everywhere = Channels(**dict.fromkeys(Channels.__dataclass_fields__, channel))
            image = ImageSpec(prompt="a cat", model_preference="gpt-image-2", enhancement_level=2, seed=7)
            answer = await MeshSteps(everywhere, None, settings).enhance_prompt(image)
    finally:
        await server.stop(0)
    assert answer.prompt == "a cat for gpt-image-2 at 2, seed 7"
