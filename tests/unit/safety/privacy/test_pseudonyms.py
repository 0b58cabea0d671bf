"""Pseudonyms can be turned back, and finds that overlap leave nothing of one another."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.safety.privacy.found import Found, Kind
from services.safety.privacy.overlaps import resolve
from services.safety.privacy.pseudonyms import redact, restore
from services.safety.privacy.reading import read
from services.safety.privacy.redactor import shipped

finds = st.builds(
    lambda kind, start, length, score: Found(kind, start, start + length, score, "test"),
    st.sampled_from(Kind),
    st.integers(0, 40),
    st.integers(1, 12),
    st.sampled_from((0.5, 0.8, 1.0)),
)


def test_the_same_words_have_the_same_pseudonym() -> None:
    text = "a@b.org to c@d.org and a@b.org"
    redacted = shipped().redact(text)
    assert redacted.text == "<EMAIL_1> to <EMAIL_2> and <EMAIL_1>"
    assert redacted.kinds == [Kind.EMAIL]


def test_a_pseudonym_that_stands_in_the_text_is_not_given_out() -> None:
    text = "<EMAIL_1> and a@b.org"
    redacted = shipped().redact(text)
    assert redacted.text == "<EMAIL_1> and <EMAIL_2>"
    assert restore(redacted.text, redacted.originals) == text


@given(st.text(max_size=60), st.lists(finds, max_size=8))
def test_every_text_comes_back(text: str, found: list[Found]) -> None:
    inside = [each for each in resolve(found) if each.end <= len(text)]
    redacted = redact(text, inside)
    assert restore(redacted.text, redacted.originals) == text


@given(st.lists(finds, max_size=8))
def test_finds_come_apart_and_cover_what_anybody_found(found: list[Found]) -> None:
    kept = resolve(found)
    assert all(one.end <= other.start for one, other in pairwise(kept))
    covered = {place for each in kept for place in range(each.start, each.end)}
    assert covered == {place for each in found for place in range(each.start, each.end)}


def test_the_surer_find_names_the_kind_then_the_longer_one() -> None:
    sure, long = Found(Kind.IBAN, 5, 10, 1.0, "a"), Found(Kind.PHONE, 0, 20, 0.7, "b")
    assert [each.kind for each in resolve([long, sure])] == [Kind.IBAN]
    short = Found(Kind.NAME, 0, 3, 0.7, "c")
    assert [each.kind for each in resolve([short, long])] == [Kind.PHONE]


@given(st.text(max_size=60))
def test_what_is_folded_stands_where_it_stood(text: str) -> None:
    reading = read(text)
    spans = [reading.span(place, place + 1) for place in range(len(reading.plain))]
    assert all(start < end for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    for (start, end), character in zip(spans, reading.plain, strict=True):
        assert read(text[start:end]).plain == character
