"""Lines of text found in a detector's map, cut out and put in order."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.safety.pictures import lines

SIDE = 320
CORE = ((100, 150), (120.0, 10.0))  # centre, and the sides of what the network marks of a line


def marked(angle: float = 0.0, *, centre: tuple[int, int] = CORE[0], value: int = 255) -> NDArray[np.uint8]:
    found = np.zeros((SIDE, SIDE), np.uint8)
    corners = cv2.boxPoints((centre, CORE[1], angle))
    cv2.fillPoly(found, [np.round(corners).astype(np.int32)], value)
    return found


def test_a_core_is_grown_to_its_line_and_told_in_the_pictures_pixels() -> None:
    (quad,) = lines.find(marked(), 2 * SIDE, 2 * SIDE)
    wide, tall = quad[1, 0] - quad[0, 0], quad[3, 1] - quad[0, 1]
    assert wide == pytest.approx(2 * (120 + 15), abs=8)
    assert tall == pytest.approx(2 * (10 + 15), abs=8)
    assert quad.mean(axis=0) == pytest.approx([200, 300], abs=4)


@pytest.mark.parametrize("found", [np.zeros((SIDE, SIDE), np.uint8), marked(value=100)])
def test_what_is_empty_or_faint_holds_no_line(found: NDArray[np.uint8]) -> None:
    assert lines.find(found, SIDE, SIDE) == []


def test_specks_are_no_lines() -> None:
    found = np.zeros((SIDE, SIDE), np.uint8)
    found[50, 50] = 255
    assert lines.find(found, SIDE, SIDE) == []


def test_the_largest_line_comes_first() -> None:
    found = marked()
    found[20:24, 20:60] = 255
    first, second = lines.find(found, SIDE, SIDE)
    assert cv2.contourArea(first) > cv2.contourArea(second)


@pytest.mark.parametrize("angle", [0.0, 20.0, -20.0])
def test_a_tilted_line_is_laid_straight(angle: float) -> None:
    """Its left half is red and its right half blue, and stays so."""
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    centre, (wide, tall) = CORE
    turn = cv2.getRotationMatrix2D((0, 0), -angle, 1)[:, :2]
    for side, colour in ((-1, (255, 0, 0)), (1, (0, 0, 255))):
        middle = np.array(centre) + turn @ np.array([side * wide / 4, 0])
        half = cv2.boxPoints((tuple(middle), (wide / 2, tall + 40), angle))
        cv2.fillPoly(picture, [np.round(half).astype(np.int32)], colour)
    (quad,) = lines.find(marked(angle), SIDE, SIDE)
    line = lines.cut(picture, quad)
    assert line.shape[0] == lines.HEIGHT
    assert line.shape[1] > 3 * lines.HEIGHT
    assert line[24, 20].tolist() == [255, 0, 0]
    assert line[24, -20].tolist() == [0, 0, 255]


def test_an_upright_line_is_laid_down() -> None:
    picture = np.zeros((200, 60, 3), np.uint8)
    picture[100:] = 255
    quad = np.array([[10, 10], [40, 10], [40, 190], [10, 190]], np.float32)
    line = lines.cut(picture, quad)
    assert line.shape[1] > 4 * lines.HEIGHT
    assert line[24, 10].tolist() == [0] * 3  # read from the top down
    assert line[24, -10].tolist() == [255] * 3


@given(st.lists(st.tuples(st.floats(-50, 400), st.floats(-50, 400)), min_size=4, max_size=4))
def test_any_corners_give_a_line_that_can_be_read(corners: list[tuple[float, float]]) -> None:
    line = lines.cut(np.zeros((300, 300, 3), np.uint8), np.array(corners, np.float32))
    assert line.shape[0] == lines.HEIGHT
    assert lines.NARROWEST <= line.shape[1] <= lines.WIDEST


def at(left: float, top: float, wide: float = 50, tall: float = 20) -> lines.Quad:
    return np.array(
        [[left, top], [left + wide, top], [left + wide, top + tall], [left, top + tall]], np.float32
    )


def test_lines_are_read_from_top_to_bottom_and_from_left_to_right() -> None:
    quads = [at(200, 52), at(10, 100), at(10, 48), at(100, 50)]
    assert lines.reading_order(quads) == [2, 3, 0, 1]
    assert lines.reading_order([]) == []


@pytest.mark.parametrize("degrees", [-40, -15, 15, 40])
def test_the_order_holds_for_tilted_text(degrees: float) -> None:
    turn = cv2.getRotationMatrix2D((0, 0), degrees, 1)[:, :2].astype(np.float32)
    quads = [at(left, top) @ turn.T for left, top in ((200, 0), (0, 60), (0, 0), (100, 0), (100, 60))]
    assert lines.reading_order(quads) == [2, 3, 0, 1, 4]


def test_a_batch_is_as_wide_as_its_widest_line() -> None:
    batch = lines.batched([np.zeros((48, 60, 3), np.uint8), np.full((48, 90, 3), 255, np.uint8)])
    assert batch.shape == (2, 48, 90, 3)
    assert (batch[0, :, 60:] == 127).all()


@pytest.mark.parametrize("size", [(1024, 1024), (64, 64), (4320, 7680), (300, 4000), (1, 9000), (9000, 1)])
def test_the_detector_is_shown_whole_steps_of_about_one_area(size: tuple[int, int]) -> None:
    height, width = lines.shown_size(*size)
    assert height % lines.STEP == width % lines.STEP == 0
    assert 0 < height * width <= 1_048_576  # what text_detection takes
    assert height <= max(lines.STEP, 2 * size[0] + lines.STEP)
