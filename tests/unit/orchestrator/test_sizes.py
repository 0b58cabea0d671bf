import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orchestrator.sizes import DEFAULT_SIDE, LONGEST, SHORTEST, Size, SizeError, target_size

sides = st.integers(SHORTEST, LONGEST)
ratios = st.tuples(st.integers(1, 99), st.integers(1, 99)).filter(
    lambda r: r[0] <= 8 * r[1] and r[1] <= 8 * r[0]
)


@pytest.mark.parametrize(
    ("width", "height", "ratio", "expected"),
    [
        (None, None, "", Size(1024, 1024)),
        (512, 768, "", Size(512, 768)),
        (None, None, "16:9", Size(1024, 576)),
        (None, None, "9:16", Size(576, 1024)),
        (None, None, "1:1", Size(1024, 1024)),
        (None, None, "4:1", Size(1024, 256)),
        (None, None, "3:7", Size(439, 1024)),  # 438.86 is rounded, not cut
        (1920, None, "16:9", Size(1920, 1080)),
        (None, 1080, "16:9", Size(1920, 1080)),
        (2048, None, "8:1", Size(2048, 256)),
        (300, None, "", Size(300, 300)),
        (None, 300, "", Size(300, 300)),
    ],
)
def test_rules(width, height, ratio, expected):
    assert target_size(width, height, ratio) == expected


@pytest.mark.parametrize(
    ("width", "height", "ratio", "says"),
    [
        (None, None, "8:1", "height of 128"),
        (None, None, "1:5", "width of 205"),
        (None, 2048, "16:9", "width of 3641"),
        (256, None, "2:1", "height of 128"),
    ],
)
def test_derived_side_out_of_range_names_the_ratio(width, height, ratio, says):
    with pytest.raises(SizeError) as raised:
        target_size(width, height, ratio)
    assert raised.value.field == "aspect_ratio"
    assert says in raised.value.rule
    assert "256 to 2048" in raised.value.rule


@settings(deadline=None)
@given(ratios, st.none() | sides, st.none() | sides)
def test_a_size_has_the_shape_that_was_asked_for_or_is_refused(ratio, width, height):
    if width is not None and height is not None:
        height = None
    text = f"{ratio[0]}:{ratio[1]}"
    exact = ratio[0] / ratio[1]
    try:
        size = target_size(width, height, text)
    except SizeError:
        longest = max(1.0, exact, 1 / exact)
        shape = (
            (width, width / exact)
            if width
            else (height * exact, height)
            if height
            else (DEFAULT_SIDE, DEFAULT_SIDE / longest)
        )
        assert min(shape) < SHORTEST or max(shape) > LONGEST
        return
    assert SHORTEST <= min(size.width, size.height) <= max(size.width, size.height) <= LONGEST
    assert abs(size.width - size.height * exact) <= max(0.5, exact * 0.5) + 1e-9
    if width is not None:
        assert size.width == width
    elif height is not None:
        assert size.height == height
    else:
        assert max(size.width, size.height) == DEFAULT_SIDE


@settings(deadline=None)
@given(ratios)
def test_turning_the_ratio_turns_the_size(ratio):
    def outcome(ratio_text):
        try:
            return target_size(None, None, ratio_text)
        except SizeError:
            return None

    there, back = outcome(f"{ratio[0]}:{ratio[1]}"), outcome(f"{ratio[1]}:{ratio[0]}")
    assert (there is None) == (back is None)
    if there is not None:
        assert (there.width, there.height) == (back.height, back.width)
