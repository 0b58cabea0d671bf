import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety.rulebook import load_disguises

DISGUISES = load_disguises()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  A  Cat\u3000sat ", "a  cat sat"),
        ("caf\u00e9", "cafe"),
        ("\u212bngstr\u00f6m", "angstrom"),
        ("pa\u200bpa\u00ad", "papa"),
        ("\u202ecat\u202c", "cat"),
        ("\u0441\u0430t", "cat"),
        ("don\u2019t don\u00b4t", "don't don't"),
        ("well\u2013known", "well-known"),
        ("\U0001d402\U0001d41a\U0001d42d", "cat"),
        ("\u24d2\u24d0\u24e3", "cat"),
        ("\U0001f172\U0001f170\U0001f183", "cat"),
        ("c\x00a\x07t", "cat"),
        ("snake_case", "snake_case"),
        ("hi" + "".join(chr(0xE0000 + ord(c)) for c in " you"), "hi you"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f flag", "flag"),
        ("line\nbreak\ttab", "line break tab"),
        ("", ""),
    ],
)
def test_plain(text: str, plain: str) -> None:
    assert DISGUISES.plain(text) == plain


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("c a t", "cat"),
        ("the c.a.t sat", "the cat sat"),
        ("a c a t sat", "a cat sat"),
        ("a r e you", "are you"),
        ("c4t", "cat"),
        ("c@t", "cat"),
        ("k1ll", "kill"),
        ("b1te", "bite"),
        ("caaaat", "cat"),
        ("boooot", "boot"),
        ("catt", "cat"),
        ("ca.t", "cat"),
        ("one  t w o  three", "one  two  three"),
    ],
)
def test_spellings(text: str, spelling: str) -> None:
    assert spelling in DISGUISES.spellings(text)


def test_masks_stand_for_vowels() -> None:
    (spelling,) = (text for text in DISGUISES.spellings("a c*t") if "cat" in text and "*" not in text)
    assert spelling.split() == ["a", "cat", "cet", "cit", "cot", "cut"]


def test_plain_words_have_one_spelling() -> None:
    assert DISGUISES.spellings("a smiling cat") == []


@pytest.mark.parametrize(
    "text",
    [
        "a/b cd/e",
        '"a" "b" |cd| e',
        "`a` 'b' cd e",
        "(a:1.2) (b:0.8) ((cd)) e",
        "*a* #b [cd:1.1] {e}",
        "a+b=cd~e",
        "a.b.cd.e",
    ],
)
def test_signs_between_words_are_read_as_gaps(text: str) -> None:
    assert "a b cd e" in [
        " ".join(spelling.split()) for spelling in DISGUISES.spellings(DISGUISES.plain(text))
    ]


@pytest.mark.parametrize("text", ["n'aked", "na*ked", "n`ake'd", "n/aked", "n*aked", "n_aked"])
def test_signs_inside_words_are_left_out(text: str) -> None:
    assert "naked" in DISGUISES.spellings(DISGUISES.plain(text))


def test_what_breaks_words_apart_is_no_gap() -> None:
    for text in ("a child, nude lipstick", "no knife. people", "who? me"):
        assert DISGUISES.spellings(text) == []


def test_a_long_word_is_read_once_and_not_from_each_of_its_letters() -> None:
    began = time.thread_time()
    assert DISGUISES.spellings("a" * 30_000 + " c*t")
    assert time.thread_time() - began < 1.0  # 0.05 s; read from each letter, 7 s


def test_numbers_are_not_read_as_letters() -> None:
    assert not any("a" in spelling for spelling in DISGUISES.spellings("444"))


@given(st.text(max_size=300))
def test_plain_is_stable_and_holds_nothing_hidden(text: str) -> None:
    plain = DISGUISES.plain(text)
    assert DISGUISES.plain(plain) == plain
    assert not any(unicodedata.category(character) in ("Cf", "Cc", "Mn", "Me") for character in plain)
    assert plain == plain.strip()


@given(st.text(alphabet=st.sampled_from("abnude01345@$!*#._- \u0430\u200b"), max_size=200))
def test_spellings_are_few_and_each_once(text: str) -> None:
    plain = DISGUISES.plain(text)
    spellings = DISGUISES.spellings(plain)
    assert plain not in spellings
    assert len(spellings) == len(set(spellings)) <= 61
    assert all(len(spelling) <= 6 * len(plain) + 8 for spelling in spellings)
