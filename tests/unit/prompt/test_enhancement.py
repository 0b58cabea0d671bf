from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.prompt import tokens
from services.prompt.dialects import Form
from services.prompt.enhancement import Asked, Enhanced, enhance
from services.prompt.lexicon import load
from services.prompt.styles import Level, Style
from services.prompt.wording import Wording, unwanted
from services.runtime.wordings import wording_for

LEXICON = load()
STYLES = LEXICON.styles
DIALECTS = LEXICON.dialects
TAGS = DIALECTS.of("")
SENTENCE = 5  # tokens of what makes a sentence of phrases: `Style:`, `with`, `and`, the full stops

PROMPTS = [
    "a smiling cat",
    "a red dragon in a black and white forest at night",
    "portrait of a woman, no blur, without jewelry",
    "a sunny beach.",
    "please draw a watercolor fox!",
    "cat, ",
    "minimalist logo for a bakery",
    "a crowd of people in a foggy city",
    "\u7b11\u3046\u732b",
]
words = st.sampled_from(
    [
        "cat",
        "dog",
        "night",
        "day",
        "sunny",
        "dark",
        "red",
        "photo",
        "anime",
        "sketch",
        "bright",
        "soft",
        "foggy",
        "city",
        "forest",
        "minimal",
        "intricate",
        "vintage",
        "two",
        "portrait",
        "panorama",
        "monochrome",
        "colorful",
        "no",
        "without",
        ",",
        ".",
        "studio",
        "crisp",
    ]
)
prompts = (
    st.sampled_from(PROMPTS)
    | st.lists(words, min_size=1, max_size=12).map(" ".join)
    | st.text(min_size=1, max_size=200)
)
styles = st.none() | st.sampled_from(STYLES.styles)
dialects = st.sampled_from(DIALECTS.dialects)
seeds = st.none() | st.integers(0, 2**53 - 1)


def enhanced(
    prompt: str, style: str = "", level: Level = Level.STANDARD, negative: str = "", chosen: bool = True
) -> Enhanced:
    found = STYLES.get(style) if style else None
    return enhance(Asked(prompt, negative, found, chosen, level, TAGS), LEXICON)


@given(prompts, st.text(max_size=80), styles, st.booleans(), st.sampled_from(Level), dialects, seeds)
def test_the_callers_words_stay_first_and_unchanged(
    prompt, negative, style, chosen, level, dialect, seed
) -> None:  # type: ignore[no-untyped-def]
    asked = Asked(prompt, negative, style, chosen, level, dialect, seed)
    result = enhance(asked, LEXICON)
    assert result.prompt.startswith(prompt)
    assert result.negative_prompt.startswith(negative)
    assert enhance(asked, LEXICON) == result


@given(prompts, styles, st.sampled_from(Level), dialects, seeds)
def test_nothing_added_contradicts_the_prompt(prompt, style, level, dialect, seed) -> None:  # type: ignore[no-untyped-def]
    result = enhance(Asked(prompt, "", style, False, level, dialect, seed), LEXICON)
    added = Wording.of(result.prompt[len(prompt) :])
    assert not [phrase.line for phrase in LEXICON.opposites.against(Wording.of(prompt)) if added.has(phrase)]
    assert not added.content & unwanted(prompt)
    assert not Wording.of(result.negative_prompt).content & Wording.of(prompt).content


@given(
    prompts,
    styles,
    st.sampled_from([(Level.NONE, Level.LIGHT), (Level.LIGHT, Level.STANDARD), (Level.STANDARD, Level.RICH)]),
    dialects,
    seeds,
)
def test_a_higher_level_says_all_that_a_lower_one_says(prompt, style, levels, dialect, seed) -> None:  # type: ignore[no-untyped-def]
    less, more = (
        enhance(Asked(prompt, "", style, True, level, dialect, seed), LEXICON).prompt for level in levels
    )
    if dialect.form is Form.TAGS:
        assert more.startswith(less)
    assert set(Wording.of(less).words) <= set(Wording.of(more).words) | {"and"}


@given(prompts, styles, st.sampled_from(Level), dialects, seeds)
def test_the_budget_of_the_dialect_holds(prompt, style, level, dialect, seed) -> None:  # type: ignore[no-untyped-def]
    result = enhance(Asked(prompt, "", style, False, level, dialect, seed), LEXICON)
    if result.prompt != prompt:
        assert tokens.MARKS + tokens.count(result.prompt) <= dialect.tokens + SENTENCE * (
            dialect.form is Form.PROSE
        )
        assert len(result.prompt.encode("utf-16-le", "surrogatepass")) <= 2 * dialect.characters


@given(prompts, styles, st.booleans(), st.sampled_from(Level), dialects)
def test_every_model_finds_its_own_wording(prompt, style, chosen, level, dialect) -> None:  # type: ignore[no-untyped-def]
    asked = Asked(prompt, "", style, chosen, level, dialect)
    result = enhance(asked, LEXICON)
    models = {pattern.replace("*", "x"): one for one in DIALECTS.dialects for pattern in one.models}
    for model, own in ({"unheard-of": TAGS} | models).items():
        worded = wording_for(model, result.prompt, result.wordings)
        assert worded == enhance(replace(asked, dialect=own), LEXICON).prompt


@given(prompts, styles, st.sampled_from([Level.NONE, Level.LIGHT]), seeds)
def test_up_to_light_a_seed_changes_nothing(prompt, style, level, seed) -> None:  # type: ignore[no-untyped-def]
    asked = Asked(prompt, "", style, True, level, TAGS)
    assert enhance(replace(asked, seed=seed), LEXICON) == enhance(asked, LEXICON)


@pytest.mark.parametrize("style", STYLES.styles, ids=STYLES.names)
def test_whatever_the_seed_the_same_things_are_said_in_the_same_order(style: Style) -> None:
    alternatives = LEXICON.alternatives.others
    usual = {option: phrase for phrase, others in alternatives.items() for option in (phrase, *others)}
    asked = Asked("", "", style, True, Level.RICH, replace(TAGS, tokens=10_000))
    first = enhance(asked, LEXICON).prompt.split(", ")
    for seed in range(30):
        said = enhance(replace(asked, seed=seed), LEXICON).prompt.split(", ")
        assert [usual.get(phrase, phrase) for phrase in said] == first


@pytest.mark.parametrize("style", STYLES.styles, ids=STYLES.names)
@pytest.mark.parametrize("level", [Level.STANDARD, Level.RICH])
def test_seeds_give_each_style_several_wordings(style: Style, level: Level) -> None:
    asked = Asked("a cat", "", style, True, level, TAGS)
    found = {enhance(replace(asked, seed=seed), LEXICON).prompt for seed in range(20)}
    assert len(found) >= 3
    assert enhance(replace(asked, seed=0), LEXICON).prompt in found


def test_where_one_wording_speaks_against_the_prompt_another_is_said() -> None:
    asked = Asked("a cat", "ambient, diffused", STYLES.get("watercolor"), True, Level.STANDARD, TAGS)
    for seed in range(20):
        assert enhance(replace(asked, seed=seed), LEXICON).prompt.endswith("soft light")


def test_the_house_model_is_given_what_was_typed_and_a_style_that_was_chosen() -> None:
    for chosen, wording in ((False, "a cat"), (True, "a cat, watercolor painting")):
        asked = Asked("a cat", "", STYLES.get("watercolor"), chosen, Level.RICH, TAGS)
        result = enhance(asked, LEXICON)
        assert wording_for("text_to_image_house", result.prompt, result.wordings) == wording


def test_none_changes_nothing() -> None:
    assert enhanced("a cat", "watercolor", Level.NONE, "dogs") == Enhanced("a cat", "dogs")


@pytest.mark.parametrize(
    ("level", "prompt"),
    [
        (Level.LIGHT, "a cat, watercolor painting, soft washes"),
        (Level.STANDARD, "a cat, watercolor painting, soft washes, visible paper texture, soft light"),
    ],
)
def test_levels(level: Level, prompt: str) -> None:
    assert enhanced("a cat", "watercolor", level).prompt == prompt


def test_rich_speaks_of_every_open_aspect() -> None:
    prompt = enhanced("a cat", "watercolor", Level.RICH).prompt
    for phrase in ("soft light", "centered composition", "white paper background", "gentle colors"):
        assert phrase in prompt


def test_without_a_style_no_medium_is_guessed() -> None:
    assert enhanced("a smiling cat").prompt == "a smiling cat"
    assert enhanced("a smiling cat", level=Level.LIGHT).prompt == "a smiling cat"


@pytest.mark.parametrize(
    ("prompt", "style", "absent"),
    [
        ("a city at night", "cartoon", "bright"),
        ("a dark cave", "photographic", "natural light"),
        ("a red fox", "pencil-sketch", "grey tones"),
        ("a black and white portrait", "anime", "vivid"),
        ("a cat in a forest", "flat-vector", "plain background"),
        ("two dogs and a cat", "icon", "single object"),
        ("a foggy lake", "cartoon", "clean outlines"),
        ("an intricate clock", "flat-vector", "geometric simplicity"),
        ("a medieval street", "cyberpunk", "futuristic"),
        ("a sky, no paper please", "watercolor", "paper"),
    ],
)
def test_opposites_are_left_out(prompt: str, style: str, absent: str) -> None:
    assert absent in enhanced("a thing", style, Level.RICH).prompt, "the case would test nothing"
    assert absent not in enhanced(prompt, style, Level.RICH).prompt.removeprefix(prompt)


def test_what_the_caller_excludes_is_not_added() -> None:
    assert "paper" not in enhanced("a cat", "watercolor", Level.RICH, negative="paper texture").prompt


def test_a_style_that_the_caller_chose_is_said_even_against_the_prompt_or_without_room() -> None:
    assert "photograph" in enhanced("a cartoon cat", "photographic").prompt
    assert "photograph" in enhanced("very " * 100 + "large cat", "photographic").prompt
    assert "photograph" not in enhanced("very " * 100 + "large cat", "photographic", chosen=False).prompt


def test_a_style_that_the_prompt_names_is_not_said_twice() -> None:
    assert enhanced("a watercolor cat", "watercolor", Level.LIGHT).prompt == "a watercolor cat, soft washes"


def test_the_negative_prompt_is_the_callers_first() -> None:
    result = enhanced("a cat", "watercolor", negative="dogs, glossy")
    assert result.negative_prompt == "dogs, glossy, photograph, 3d render, hard edges"
    assert enhanced("a cat", negative="dogs").negative_prompt == "dogs"


def test_what_the_prompt_asks_for_is_not_excluded() -> None:
    assert "text" in enhanced("a cat", "icon").negative_prompt
    assert "text" not in enhanced("an icon with the text hello", "icon").negative_prompt


@pytest.mark.parametrize(
    ("prompt", "start"),
    [
        ("a cat", "a cat, centered"),
        ("a cat.", "a cat. centered"),
        ("a cat, ", "a cat, centered"),
        ("a cat,", "a cat, centered"),
    ],
)
def test_the_seam(prompt: str, start: str) -> None:
    assert enhanced(prompt, level=Level.RICH).prompt.startswith(start)


@pytest.mark.parametrize("length", [3_960, 3_990, 4_000])
def test_a_legal_text_never_grows_beyond_what_a_spec_may_hold(length: int) -> None:
    """Else the mesh refuses the caller's own legal request, for words that the mesh has added."""
    text = "x" * length
    asked = Asked(text, text, STYLES.get("watercolor"), chosen=True, level=Level.RICH, dialect=TAGS)
    found = enhance(asked, LEXICON)
    for longer in (found.prompt, found.negative_prompt):
        assert longer.startswith(text)
        assert len(longer) <= 4_000
