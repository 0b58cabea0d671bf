"""What the policy takes out of a prompt goes nowhere; where nothing says what to use instead, nothing is drawn."""

import pytest

from scrollintel.visual.v1 import errors_pb2, safety_finding_pb2
from scrollintel.visual.v1.prompt_pb2 import PromptWording
from scrollintel.visual.v1.safety_pb2 import CheckPromptResponse, SafetyVerdict
from services.orchestrator import defaults, pipeline, verdicts
from services.orchestrator.pipeline import Work
from services.runtime.errors import MeshError
from tests.unit.orchestrator.scripted import ScriptedSteps, image_request

SECRET = "anna@example.org"
REDACT = safety_finding_pb2.SAFETY_ACTION_REDACT


class RedactingSteps(ScriptedSteps):
    """Steps whose policy takes an address out of what it checks."""

    async def check_prompt(self, prompt, negative_prompt):
        answer = await super().check_prompt(prompt, negative_prompt)
        if SECRET in prompt + negative_prompt:
            answer.verdict.action = REDACT
            answer.redacted_prompt = prompt.replace(SECRET, "<EMAIL_1>")
            answer.redacted_negative_prompt = negative_prompt.replace(SECRET, "<EMAIL_1>")
        return answer

    async def enhance_prompt(self, image):
        self.requests.append(image)
        answer = await super().enhance_prompt(image)
        answer.wordings.add(models=["gpt-image-*"], prompt=f"invented for {SECRET}")
        return answer


async def test_what_is_taken_out_reaches_nobody():
    steps, events = RedactingSteps(), []
    spec = defaults.fill(
        image_request(prompt=f"a card for {SECRET}", negative_prompt=f"no {SECRET}").spec, seed=lambda: 7
    )
    made = await pipeline.run(Work("gen-1", spec), steps, events.append)
    assert SECRET not in f"{steps.requests}{events}{made.assets}"
    drawn = next(one for one in steps.requests if one.DESCRIPTOR.name == "ExecuteRequest")
    assert drawn.image.prompt.startswith("a card for <EMAIL_1>")
    assert drawn.image.negative_prompt == "no <EMAIL_1>"
    assert list(drawn.wordings) == [PromptWording(models=["gpt-image-*"], prompt="invented for <EMAIL_1>")]
    assert "<EMAIL_1>" in made.assets[0].metadata["prompt"]


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (CheckPromptResponse(), ("a", "")),
        (CheckPromptResponse(redacted_prompt="b"), ("a", "no c")),
        (CheckPromptResponse(redacted_negative_prompt="b"), ("a", "no c")),
    ],
)
def test_a_redaction_without_what_to_use_instead_is_a_refusal(answer, asked):
    answer.verdict.CopyFrom(SafetyVerdict(action=REDACT))
    with pytest.raises(MeshError) as caught:
        verdicts.usable(answer, asked)
    assert caught.value.reason == errors_pb2.ERROR_REASON_PROMPT_UNSAFE
