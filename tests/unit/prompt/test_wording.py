import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.prompt.wording import Wording, clauses, unwanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A smiling Cat!", ("a", "smiling", "cat")),
        ("close-up, 8-bit", ("close", "up", "8", "bit")),
        ("bird\u2019s eye view", ("bird's", "eye", "view")),
        ("snake_case", ("snake", "case")),
        ("\u00dcber caf\u00e9", ("\u00fcber", "caf\u00e9")),
        ("", ()),
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert Wording.of(text).words == words


@pytest.mark.parametrize(
    ("text", "phrase", "has"),
    [
        ("a close-up of a cat", "close up", True),
        ("closeup", "close up", False),
        ("a category", "cat", False),
        ("cat", "cat", True),
        ("cat", "", False),
        ("", "cat", False),
    ],
)
def test_has(text: str, phrase: str, has: bool) -> None:
    assert Wording.of(text).has(Wording.of(phrase)) is has
    assert Wording.of(text).has_any([Wording.of(phrase)]) is has


def test_unwanted() -> None:
    assert unwanted("a sky without any clouds, no birds; not dark") == {"clouds", "birds", "dark"}
    assert unwanted("a notable northern nose") == frozenset()


def test_clauses() -> None:
    assert clauses(" a cat , , on a mat.\nred | blue") == ["a cat", "on a mat", "red", "blue"]


@given(st.text(max_size=200))
def test_every_text_can_be_read(text: str) -> None:
    wording = Wording.of(text)
    assert all(wording.has(Wording((word,))) for word in wording.words)
    assert wording.content <= set(wording.words)
