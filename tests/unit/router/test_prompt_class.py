"""A prompt's class follows from its words, and is the same wherever it is asked for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.prompt_class import STYLES, WORDS, PromptClass, classify


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a portrait of an old sailor, soft window light", PromptClass.PORTRAIT),
        ("A futuristic cityscape at sunset", PromptClass.CITYSCAPE),
        ("an abstract composition of circles and gold", PromptClass.ABSTRACT),
        ("a technical diagram of a steam engine", PromptClass.DIAGRAM),
        ("a red fox in the snow", PromptClass.ANIMAL),
        ("two cats asleep", PromptClass.ANIMAL),
        ("misty mountains above a lake", PromptClass.LANDSCAPE),
        ("a blue ceramic mug on a table", PromptClass.OBJECT),
        ("joy", PromptClass.OTHER),
        ("", PromptClass.OTHER),
        ("concatenate", PromptClass.OTHER),  # whole words alone
        ("a labelled diagram of a cat", PromptClass.DIAGRAM),
    ],
)
def test_the_words_decide(prompt, expected):
    assert classify(prompt) is expected


def test_a_style_speaks_where_the_words_do_not():
    assert classify("joy", "icon") is PromptClass.OBJECT
    assert classify("a cat", "icon") is PromptClass.ANIMAL
    assert classify("joy", "watercolor") is PromptClass.OTHER


def test_no_word_is_in_two_tables():
    words = [word for table in WORDS.values() for word in table]
    assert len(words) == len(set(words))
    assert set(WORDS) == set(PromptClass) - {PromptClass.OTHER}


def test_every_style_is_one_of_the_documented():
    text = (Path(__file__).parents[3] / "docs" / "04-prompt.md").read_text()
    assert all(f"| `{style}` |" in text for style in STYLES)


@given(st.text(max_size=200))
def test_any_text_has_a_class(prompt):
    assert classify(prompt) in PromptClass
    assert classify(prompt.swapcase()) in PromptClass
