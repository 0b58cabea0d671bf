"""Which bytes a download sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.assets.byte_range import ByteRange, OffsetPastEndError, resolve_range


@pytest.mark.parametrize(
    ("size", "offset", "limit", "expected"),
    [
        (10, 0, 0, (0, 10)),
        (10, 4, 0, (4, 10)),
        (10, 4, 3, (4, 7)),
        (10, 4, 100, (4, 10)),
        (10, 10, 0, (10, 10)),
        (10, 0, 2**62, (0, 10)),
    ],
)
def test_a_range_is_cut_to_the_file(size: int, offset: int, limit: int, expected: tuple[int, int]) -> None:
    assert resolve_range(size, offset, limit) == ByteRange(*expected)


def test_an_offset_past_the_end_is_refused_with_the_size() -> None:
    with pytest.raises(OffsetPastEndError, match="10 bytes"):
        resolve_range(10, 11, 0)


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 700))
def test_chunks_cover_the_range_once_in_order(start: int, length: int, size: int) -> None:
    chunks = list(ByteRange(start, start + length).chunks(size))
    assert [i for c in chunks for i in range(c.start, c.end)] == list(range(start, start + length))
    assert all(0 < c.end - c.start <= size for c in chunks)
