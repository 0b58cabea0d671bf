import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.prompt.analysis import analyse
from services.prompt.lexicon import load
from services.prompt.removal import without
from services.prompt.suggestions import MEANING, suggest
from services.prompt.wording import Wording, unwanted

LEXICON = load()
OPTIONS = [(name, text) for name, options in LEXICON.suggestions.items() for text in options]
VAGUE = [
    "a cat",
    "a bat",
    "a photo of a dog at night",
    "something",
    "a city, no people",
    "two cranes in pencil",
]


@pytest.mark.parametrize(("name", "text"), OPTIONS)
def test_each_option_speaks_of_its_aspect(name: str, text: str) -> None:
    assert name not in analyse(f"a cat, {text}", LEXICON).missing


@pytest.mark.parametrize("prompt", VAGUE)
def test_suggestions_say_what_was_open_each_in_its_own_way(prompt: str) -> None:
    found = suggest(prompt, 3, LEXICON)
    missing = set(analyse(prompt, LEXICON).missing)
    assert len({one.prompt for one in found}) == 3
    for one in found:
        assert one.prompt.startswith(f"{prompt}, ")
        assert set(one.added) - {MEANING} <= missing
        assert set(one.added) & missing
        assert not set(analyse(one.prompt, LEXICON).missing) & set(one.added)
        assert all(text in one.prompt and text in one.reason for text in one.added.values())
    if "medium" in missing:
        assert len({one.added["medium"] for one in found}) == 3


def test_a_word_of_several_meanings_is_settled_each_way() -> None:
    one, other = suggest("a bat", 2, LEXICON)
    assert one.prompt.startswith("a bat, the flying animal, ")
    assert other.prompt.startswith("a bat, the baseball bat, ")
    assert one.reason.startswith("says what is meant: the flying animal")


def test_a_prompt_that_says_all_needs_no_suggestion() -> None:
    prompt = "a calm black cat in a forest at night, close-up, ink drawing"
    assert suggest(prompt, 3, LEXICON) == []


def test_what_the_prompt_is_against_is_not_suggested() -> None:
    at_night = [text for one in suggest("a dog at night", 10, LEXICON) for text in one.added.values()]
    assert not {"bright noon sun", "golden hour light"} & set(at_night)
    media = {one.added["medium"] for one in suggest("a dog, no paper", 10, LEXICON)}
    assert "paper craft" not in media
    assert "paper craft" in {one.added["medium"] for one in suggest("a dog", 10, LEXICON)}


@pytest.mark.parametrize(
    ("prompt", "spans", "left", "removed"),
    [
        ("a bloody knife fight in a kitchen", ["bloody"], "a knife fight in a kitchen", ("bloody",)),
        ("gore, a castle, GORE", ["gore"], "a castle", ("gore",)),
        ("a castle, dead   bodies, rain", ["dead bodies", "x"], "a castle, rain", ("dead bodies",)),
        ("a scarecrow", ["scare", "crow"], "a scarecrow", ()),
        ("eine leere Straße", ["Straße"], "eine leere", ("Straße",)),
        ("the Devil\u2019s castle", ["devil's"], "the castle", ("devil's",)),
        ("the devil's castle", ["devil\u2019s"], "the castle", ("devil\u2019s",)),
        ("a cat ,  a dog", ["bird"], "a cat ,  a dog", ()),
        ("a cat", ["...", "a.c", "(a"], "cat", ("(a",)),
    ],
)
def test_words_are_taken_out_whole(
    prompt: str, spans: list[str], left: str, removed: tuple[str, ...]
) -> None:
    assert without(prompt, spans) == (left, removed)


def test_what_is_to_be_avoided_is_in_no_suggestion() -> None:
    first, *others = suggest("a bloody knife in moonlight", 10, LEXICON, ["bloody", "paper"])
    assert (first.prompt, first.reason) == ("a knife in moonlight", "leaves out bloody")
    assert len(others) == 9
    for one in others:
        assert one.prompt.startswith("a knife in moonlight, ")
        assert one.reason.startswith("leaves out bloody")
        assert "paper" not in one.prompt
    assert suggest("bloody gore", 3, LEXICON, ["gore", "bloody"]) == []


@given(st.sampled_from(VAGUE) | st.text(min_size=1, max_size=100), st.integers(1, 10))
def test_any_prompt_keeps_its_words_and_gets_equal_suggestions(prompt: str, count: int) -> None:
    found = suggest(prompt, count, LEXICON)
    assert len(found) <= count
    assert found == suggest(prompt, count, LEXICON)
    for one in found:
        assert one.prompt.startswith(prompt) or not prompt.strip()
        added = Wording.of(", ".join(text for name, text in one.added.items() if name != MEANING))
        assert not added.has_any(LEXICON.opposites.against(Wording.of(prompt)))
        assert not added.content & unwanted(prompt)
