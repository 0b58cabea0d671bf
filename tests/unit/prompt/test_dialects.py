from pathlib import Path

import pytest
import yaml

from services.prompt import tokens
from services.prompt.enhancement import Asked, enhance
from services.prompt.lexicon import load
from services.prompt.styles import Level

ROOT = Path(__file__).parents[3]
LEXICON = load()
DIALECTS = LEXICON.dialects


def drawn_by(model: str, prompt: str, style: str = "watercolor", level: Level = Level.STANDARD) -> str:
    found = LEXICON.styles.get(style) if style else None
    return enhance(Asked(prompt, "", found, True, level, DIALECTS.of(model)), LEXICON).prompt


@pytest.mark.parametrize(
    ("model", "dialect"),
    [
        ("", "tags"),
        ("unheard-of", "tags"),
        ("sdxl", "tags"),
        ("stable-diffusion", "tags"),
        ("text_to_image_house", "house"),
        ("gpt-image-2", "prose"),
        ("dall-e-3", "prose"),
        ("gen4-image", "short-prose"),
        ("flux-dev", "description"),
        ("sd3", "description"),
        ("midjourney", "midjourney"),
    ],
)
def test_the_dialect_of_a_model(model: str, dialect: str) -> None:
    assert DIALECTS.of(model).name == dialect


def test_every_pattern_is_of_a_model_that_the_mesh_can_name() -> None:
    providers = yaml.safe_load((ROOT / "router" / "providers.yaml").read_text())["providers"]
    known = {model["model"] for provider in providers for model in provider["models"]}
    known |= {file.stem for file in (ROOT / "services" / "models" / "catalogue").glob("*.yaml")}
    for dialect in DIALECTS.dialects:
        assert set(dialect.models) == {
            pattern for pattern in dialect.models if any(DIALECTS.of(name) is dialect for name in known)
        }


def test_no_dialect_says_more_than_its_providers_take() -> None:
    providers = yaml.safe_load((ROOT / "router" / "providers.yaml").read_text())["providers"]
    for model in (model for provider in providers for model in provider["models"]):
        if model["modality"] == "text-to-image":
            assert DIALECTS.of(model["model"]).characters <= model["limits"].get("prompt", 4000), model[
                "model"
            ]


@pytest.mark.parametrize(
    ("model", "prompt", "wording"),
    [
        ("sdxl", "a cat", "a cat, watercolor painting, soft washes, visible paper texture, soft light"),
        ("midjourney", "a cat", "a cat, watercolor painting, soft washes, visible paper texture, soft light"),
        (
            "gpt-image-2",
            "a cat",
            "a cat. Style: watercolor painting, with soft washes, visible paper texture and soft light.",
        ),
        (
            "gpt-image-2",
            "A watercolor cat.",
            "A watercolor cat. With soft washes, visible paper texture and soft light.",
        ),
        ("text_to_image_house", "a cat", "a cat, watercolor painting"),
        ("text_to_image_house", "a cat with a red hat and a long green scarf", None),
    ],
)
def test_wordings(model: str, prompt: str, wording: str | None) -> None:
    said = drawn_by(model, prompt)
    assert said == (wording or f"{prompt}, watercolor painting"), (
        "the style that the caller chose is always said"
    )


def test_a_prompt_that_fills_the_encoder_gets_nothing_more() -> None:
    full = "a cat " * 37
    assert tokens.MARKS + tokens.count(full) > 75
    assert (
        enhance(
            Asked(full, "", LEXICON.styles.get("watercolor"), False, Level.RICH, DIALECTS.of("sdxl")), LEXICON
        ).prompt
        == full
    )


def test_no_addition_takes_a_prompt_past_what_an_address_takes() -> None:
    prompt = "x" * 990
    assert drawn_by("gen4-image", prompt) == prompt
    assert len(drawn_by("gen4-image", "x" * 900, level=Level.RICH)) in range(901, 1001)
    assert len(drawn_by("gpt-image-2", prompt)) > 1000


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("", 0),
        ("a cat", 2),
        ("a cat, 4k", 5),
        ("chiaroscuro", 2),
        ("it's", 2),
        ("\u732b", 3),
        ("\u00fcber", 5),
    ],
)
def test_tokens(text: str, most: int) -> None:
    assert tokens.count(text) == most
