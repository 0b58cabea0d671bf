"""What the boxes of an MP4 tell, and that no bytes are taken for a whole one that are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.mp4 import BrokenError, measure
from tests.contract.providers.samples import mp4


def test_the_shape_is_read_from_the_boxes() -> None:
    assert measure(mp4()) == (32, 32, 4)


def test_boxes_of_long_sizes_and_one_that_goes_to_the_end_are_read() -> None:
    film = mp4()
    assert measure(film + (17).to_bytes(4) + b"free" + bytes(9)) == (32, 32, 4)
    assert measure(film + (1).to_bytes(4) + b"free" + (20).to_bytes(8) + bytes(4)) == (32, 32, 4)
    assert measure(film + (0).to_bytes(4) + b"free" + bytes(5)) == (32, 32, 4)


def test_a_file_that_was_cut_off_anywhere_is_broken() -> None:
    film = mp4()
    for length in range(len(film)):
        with pytest.raises(BrokenError):
            measure(film[:length])


def test_a_file_of_nothing_but_boxes_is_not_read_to_its_end() -> None:
    with pytest.raises(BrokenError):
        measure(mp4() + ((8).to_bytes(4) + b"free") * 10_000)


@given(st.binary(max_size=64), st.integers(0, 10_000))
def test_damaged_bytes_are_measured_or_broken_and_nothing_else(damage: bytes, at: int) -> None:
    film = mp4()
    at %= len(film)
    for data in (damage, film[:at] + damage + film[at + len(damage) :]):
        try:
            shape = measure(data)
        except BrokenError:
            continue
        assert min(shape) >= 0
