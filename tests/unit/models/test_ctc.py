"""Characters out of a recogniser's steps."""

import numpy as np
import pytest

from services.models.serving import ctc


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ([0, 1, 1, 0, 2, 0], "ab"),
        ([1, 1, 0, 1], "aa"),
        ([1, 2, 2, 1], "aba"),
        ([3, 0, 0, 3], "  "),
        ([0, 0], ""),
    ],
)
def test_a_character_that_goes_on_is_one(named: list[int], text: str) -> None:
    steps = np.eye(4, dtype=np.float32)[named]
    assert ctc.decode(steps, "ab ") == (text, 1.0 if text else 0.0)


def test_what_is_no_number_is_no_empty_line() -> None:
    with pytest.raises(ValueError, match="not finite"):
        ctc.decode(np.full((3, 4), np.nan, np.float32), "ab ")


def test_the_confidence_is_that_of_the_characters_alone() -> None:
    steps = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.4, 0, 0.6]], np.float32)
    text, sure = ctc.decode(steps, "ab")
    assert text == "ab"
    assert sure == pytest.approx(0.7)
