import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.prompt.detection import LIKE, UNLIKE, by_keywords, by_likeness, can_be_compared, likeness
from services.prompt.lexicon import load
from services.prompt.wording import Wording, unwanted

STYLES = load().styles


def named(prompt: str) -> list[str]:
    return [match.style for match in by_keywords(Wording.of(prompt), unwanted(prompt), STYLES)]


@pytest.mark.parametrize(
    ("prompt", "styles"),
    [
        ("a watercolor fox", ["watercolor"]),
        ("Pixel-Art of a dragon", ["pixel-art"]),
        ("a photo of a man", ["photographic"]),
        ("8-bit hero", ["pixel-art"]),
        ("an oil painting of a 3D glasses collection", ["oil-painting", "3d-render"]),
        ("a smiling cat", []),
        ("a cat, not a photo", []),
        ("a castle without any anime look", []),
        ("photosynthesis diagram", []),
        ("a pencil on a desk next to a blender and a clay pot", []),
    ],
)
def test_by_keywords(prompt: str, styles: list[str]) -> None:
    assert named(prompt) == styles


def test_more_words_are_surer() -> None:
    short, long = (
        by_keywords(Wording.of(text), frozenset(), STYLES)[0].confidence
        for text in ("a photo", "photo, dslr, 35mm")
    )
    assert 0 < short < long < 1


def test_at_most_three_are_told() -> None:
    assert len(named("photo, anime, comic, cartoon, pixel art")) == 3


@pytest.mark.parametrize("style", STYLES.styles, ids=STYLES.names)
def test_every_keyword_finds_its_style(style: object) -> None:
    for keyword in style.keywords:  # type: ignore[attr-defined]
        found = named(" ".join(keyword.words) + " house")
        assert style.name in found  # type: ignore[attr-defined]


def test_by_likeness_tells_the_best_first_and_nothing_that_is_unlike() -> None:
    matches = by_likeness({"a": UNLIKE, "b": UNLIKE + 0.1, "c": LIKE + 0.1, "d": -1.0, "e": UNLIKE + 0.2})
    assert [match.style for match in matches] == ["c", "e", "b"]
    assert matches[0].confidence == 1.0
    assert all(0 < match.confidence <= 1 for match in matches)


def test_likeness_is_that_of_the_nearest_exemplar() -> None:
    found = likeness(np.array([1, 0, -1], dtype=np.float32), ["a", "a", "b"])
    assert found == {"a": 1.0, "b": -1.0}


@pytest.mark.parametrize(
    ("prompt", "enough"), [("a smiling cat", False), ("the camera", False), ("a cat on a red mat", True)]
)
def test_can_be_compared(prompt: str, enough: bool) -> None:
    assert can_be_compared(Wording.of(prompt)) is enough


@given(st.text(max_size=300))
def test_any_text_can_be_judged(text: str) -> None:
    matches = by_keywords(Wording.of(text), unwanted(text), STYLES)
    assert all(0 < match.confidence <= 1 for match in matches)
