"""In which passes a picture reaches its size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enhance.operations import FILTER_PIXELS
from services.enhance.plan import (
    CHAINED_PIXELS,
    MAXIMUM_MODEL_PIXELS,
    MAXIMUM_PIXELS,
    MODEL_FACTOR,
    Enlarge,
    Extend,
    Pass,
    PlanError,
    Resize,
    Size,
    fit,
    plan_factor,
    plan_size,
    result_size,
)
from services.runtime.channels import MAX_MESSAGE_BYTES

MODEL = Enlarge("compact")


@pytest.mark.parametrize(
    ("source", "canvas", "passes"),
    [
        ((64, 64), (64, 64), ()),
        ((64, 64), (256, 256), (MODEL,)),
        ((64, 64), (200, 200), (MODEL, Resize(Size(200, 200)))),
        ((64, 64), (288, 288), (MODEL, MODEL, Resize(Size(288, 288)))),
        ((64, 64), (512, 512), (MODEL, MODEL, Resize(Size(512, 512)))),
        ((64, 64), (1024, 1024), (MODEL, MODEL)),
        ((64, 64), (2048, 2048), (MODEL, MODEL, Resize(Size(2048, 2048)))),
        ((64, 64), (1024, 576), (MODEL, MODEL, Resize(Size(576, 576)), Extend(Size(1024, 576)))),
        ((64, 64), (1024, 256), (MODEL, Extend(Size(1024, 256)))),
        ((64, 64), (256, 2048), (MODEL, Extend(Size(256, 2048)))),
        ((1024, 1024), (512, 512), (Resize(Size(512, 512)),)),
        ((1024, 1024), (512, 1024), (Resize(Size(512, 512)), Extend(Size(512, 1024)))),
        ((1024, 1024), (2048, 2048), (MODEL, Resize(Size(2048, 2048)))),
    ],
)
def test_known_sizes(source: tuple[int, int], canvas: tuple[int, int], passes: tuple[Pass, ...]) -> None:
    assert plan_size(Size(*source), Size(*canvas), "compact") == passes


@pytest.mark.parametrize(
    ("factor", "passes"), [(2, (MODEL, Resize(Size(200, 100)))), (4, (MODEL,))], ids=["twice", "four times"]
)
def test_factors(factor: int, passes: tuple[Pass, ...]) -> None:
    assert plan_factor(Size(100, 50), factor, "compact") == passes


@pytest.mark.parametrize(
    ("source", "canvas", "rule"),
    [
        ((64, 64), (8193, 64), "8192 pixels on a side"),
        ((3000, 3000), (3001, 3001), "can be enlarged"),
    ],
)
def test_what_cannot_be_reached_is_refused_naming_the_field(
    source: tuple[int, int], canvas: tuple[int, int], rule: str
) -> None:
    with pytest.raises(PlanError, match=rule) as caught:
        plan_size(Size(*source), Size(*canvas), "compact")
    assert caught.value.field == "size"
    with pytest.raises(PlanError, match="on a side") as caught:
        plan_factor(Size(2049, 8), 4, "compact")
    assert caught.value.field == "factor"


def test_what_the_model_may_make_fits_into_a_message() -> None:
    """Else it is made, for minutes, and then refused on its way back as RESOURCE_EXHAUSTED."""
    around = 1024  # the message's other fields
    assert MAXIMUM_MODEL_PIXELS * MODEL_FACTOR**2 * 3 + around <= MAX_MESSAGE_BYTES
    assert max(FILTER_PIXELS.values()) * 3 + around <= MAX_MESSAGE_BYTES


sides = st.integers(1, 1140)  # a square of the longest is just small enough for the model


@given(sides, sides, sides, sides)
def test_every_plan_ends_at_the_canvas_with_bounded_work(
    width: int, height: int, across: int, down: int
) -> None:
    source, canvas = Size(width, height), Size(across, down)
    passes = plan_size(source, canvas, "compact")
    assert result_size(source, passes) == canvas
    size = source
    for step in passes:
        if isinstance(step, Enlarge):
            assert size == source or size.pixels <= CHAINED_PIXELS
        size = result_size(size, (step,))
        assert size.pixels <= MAXIMUM_PIXELS


@given(sides, sides, sides, sides)
def test_a_fitted_picture_touches_two_sides_and_keeps_its_shape(
    width: int, height: int, across: int, down: int
) -> None:
    source, canvas = Size(width, height), Size(across, down)
    fitted = fit(source, canvas)
    assert fitted.width <= across
    assert fitted.height <= down
    assert fitted.width == across or fitted.height == down
    scale = min(across / width, down / height)
    assert abs(fitted.width - max(1, width * scale)) <= 1
    assert abs(fitted.height - max(1, height * scale)) <= 1
