import pytest

from scrollintel.visual.v1.prompt_pb2 import PromptWording
from services.runtime.wordings import wording_for

WORDINGS = [
    PromptWording(models=["gpt-image-*", "dall-e-*"], prompt="prose"),
    PromptWording(models=["text_to_image_house"], prompt="typed"),
    PromptWording(models=["*"], prompt="tags"),
]


@pytest.mark.parametrize(
    ("model", "prompt"),
    [("gpt-image-2", "prose"), ("dall-e-3", "prose"), ("text_to_image_house", "typed"), ("sdxl", "tags")],
)
def test_the_first_wording_that_is_for_a_model_counts(model: str, prompt: str) -> None:
    assert wording_for(model, "neutral", WORDINGS) == prompt


def test_a_model_that_no_wording_is_for_gets_the_prompt() -> None:
    assert wording_for("sdxl", "neutral", WORDINGS[:2]) == "neutral"
    assert wording_for("sdxl", "neutral", []) == "neutral"
