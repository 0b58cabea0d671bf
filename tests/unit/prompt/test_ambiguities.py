from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.prompt.ambiguities import Ambiguity, Kind
from services.prompt.lexicon import load
from services.prompt.wording import Wording

AMBIGUITIES = load().ambiguities


def found(prompt: str) -> tuple[Ambiguity, ...]:
    return AMBIGUITIES.of(Wording.of(prompt))


@pytest.mark.parametrize(
    ("prompt", "phrase", "readings"),
    [
        ("a bat", "bat", ("the flying animal", "the baseball bat")),
        ("two cranes", "cranes", ("the long-legged bird", "the building crane")),
        ("a red jaguar", "jaguar", ("the big cat", "the car")),
    ],
)
def test_a_word_of_several_meanings(prompt: str, phrase: str, readings: tuple[str, ...]) -> None:
    assert found(prompt) == (Ambiguity(Kind.MEANINGS, phrase, readings),)


@pytest.mark.parametrize(
    "prompt",
    [
        "a bat in a cave",
        "a baseball player with a bat",
        "origami crane",
        "a bathtub",
        "a smiling cat",
        "a sleepy seal on the ice",
        "a bank robbery",
        "a springboard",
    ],
)
def test_what_the_words_around_settle_is_not_ambiguous(prompt: str) -> None:
    assert found(prompt) == ()


@pytest.mark.parametrize("entry", AMBIGUITIES.meanings, ids=lambda entry: entry.words[0].line.strip())
def test_each_meaning_is_a_choice_and_each_reading_settles_it(entry) -> None:  # type: ignore[no-untyped-def]
    word = " ".join(entry.words[0].words)
    assert len(entry.readings) >= 2
    assert entry.find(Wording.of(f"a {word}"))
    for reading in entry.readings:
        assert not entry.find(Wording.of(f"a {word}, {reading}"))


def test_no_word_is_listed_twice() -> None:
    words = Counter(word for entry in AMBIGUITIES.meanings for word in entry.words)
    assert set(words.values()) == {1}


def test_vague_words() -> None:
    assert found("something nice") == (Ambiguity(Kind.VAGUE, "something"), Ambiguity(Kind.VAGUE, "nice"))


@pytest.mark.parametrize(
    ("prompt", "phrase", "against"),
    [
        ("a black-and-white, colorful parrot", "black and white", ("colorful",)),
        ("minimalist ornate vase", "minimalist", ("ornate",)),
        ("close-up panorama of the alps", "close up", ("panorama",)),
    ],
)
def test_contradictions(prompt: str, phrase: str, against: tuple[str, ...]) -> None:
    assert found(prompt) == (Ambiguity(Kind.CONTRADICTION, phrase, against),)


@given(st.text(max_size=200))
def test_every_phrase_stands_in_the_prompt(text: str) -> None:
    assert all(Wording.of(text).has(Wording.of(one.phrase)) for one in found(text))
