"""Page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.assets.page_token import InvalidPageTokenError, decode_page_token, encode_page_token


@given(st.integers(0, 2**63 - 1))
def test_a_token_gives_back_its_number_and_fits_the_field(before: int) -> None:
    token = encode_page_token(before)
    assert decode_page_token(token) == before
    assert len(token) <= 64


def test_the_empty_token_is_the_first_page() -> None:
    assert decode_page_token("") is None


@pytest.mark.parametrize(
    "token", ["x", "AAAA", "é", "AgAAAAAAAAAB", "Af__________", encode_page_token(3) + "A", " " * 12]
)
def test_any_other_text_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageTokenError):
        decode_page_token(token)


@given(st.text(max_size=64))
def test_no_text_does_anything_else_than_decode_or_be_refused(token: str) -> None:
    try:
        before = decode_page_token(token)
    except InvalidPageTokenError:
        return
    assert before is None or before >= 0
