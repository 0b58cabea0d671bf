"""A request is drawn at the model's size that is nearest in shape, then in area."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.sizes import Size, nearest

SDXL = [Size(*size) for size in ((1024, 1024), (1152, 896), (896, 1152), (1344, 768), (768, 1344))]
sides = st.integers(256, 2048)


@pytest.mark.parametrize(
    ("wanted", "drawn"),
    [
        ((1024, 1024), (1024, 1024)),
        ((512, 512), (1024, 1024)),
        ((1920, 1080), (1344, 768)),
        ((1080, 1920), (768, 1344)),
        ((1000, 800), (1152, 896)),
        ((2048, 256), (1344, 768)),
    ],
)
def test_the_shape_decides(wanted, drawn):
    assert nearest(SDXL, Size(*wanted)) == drawn


@pytest.mark.parametrize(("side", "drawn"), [(256, 512), (600, 512), (900, 1024), (2048, 1024)])
def test_among_equal_shapes_the_area_does(side, drawn):
    assert nearest([Size(512, 512), Size(1024, 1024)], Size(side, side)) == (drawn, drawn)


@given(sides, sides)
def test_turning_the_request_turns_the_answer(width, height):
    size = nearest(SDXL, Size(width, height))
    assert nearest(SDXL, Size(height, width)) in (Size(size.height, size.width), size)
