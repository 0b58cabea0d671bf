import re

import pytest

from services.prompt.lexicon import load
from services.prompt.styles import Level, Style, StyleSet, UnknownStyleError
from services.prompt.wording import Wording

LEXICON = load()
STYLES = LEXICON.styles


def test_the_set_is_of_about_sixteen_styles_with_names_that_the_contract_takes() -> None:
    assert 16 <= len(STYLES.names) <= 20
    assert all(re.fullmatch(r"[a-z0-9_-]{1,40}", name) for name in STYLES.names)


@pytest.mark.parametrize("style", STYLES.styles, ids=STYLES.names)
def test_each_style_is_whole(style: Style) -> None:
    assert STYLES.get(style.name) is style
    assert len(style.exemplars) >= 2
    assert all(style.words[level] for level in (Level.LIGHT, Level.STANDARD, Level.RICH))
    assert style.negative
    assert set(style.aspects) <= {aspect.name for aspect in LEXICON.aspects}


@pytest.mark.parametrize("style", STYLES.styles, ids=STYLES.names)
def test_a_style_does_not_contradict_or_exclude_itself(style: Style) -> None:
    phrases = [*(text for texts in style.words.values() for text in texts), *style.aspects.values()]
    for phrase in phrases:
        against = LEXICON.opposites.against(Wording.of(phrase))
        clashes = [other for other in phrases if Wording.of(other).has_any(against)]
        assert not clashes, f"{phrase!r} is against {clashes}"
    said = Wording.of(", ".join(phrases))
    assert not [text for text in style.negative if said.has(Wording.of(text))]


def test_no_keyword_names_two_styles() -> None:
    keywords = [keyword for style in STYLES.styles for keyword in style.keywords]
    assert len(set(keywords)) == len(keywords)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("watercolour", "watercolor"),
        ("water-color", "watercolor"),
        ("photographc", "photographic"),
        ("photo", "photographic"),
        ("manga", "anime"),
        ("3d", "3d-render"),
        ("oil_painting", "oil-painting"),
        ("pixelart", "pixel-art"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(UnknownStyleError) as caught:
        STYLES.get(name)
    assert caught.value.near[0] == near
    assert len(caught.value.near) <= 3


def test_a_name_like_no_other_has_nothing_near() -> None:
    with pytest.raises(UnknownStyleError) as caught:
        STYLES.get("qqqqqq")
    assert caught.value.near == []


def test_parse_names_what_is_missing() -> None:
    with pytest.raises(ValueError, match="style x: 'keywords' is missing"):
        Style.parse({"name": "x"})
    with pytest.raises(ValueError, match="given twice"):
        StyleSet((STYLES.styles[0], STYLES.styles[0]))
