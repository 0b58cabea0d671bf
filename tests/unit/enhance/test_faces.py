"""Faces are cut out upright, and nothing but what the restorer changed comes back."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from services.enhance import faces
from services.enhance.faces import SIDE, TEMPLATE, Cut, Pixels, cut_out, find_cuts, paste, similarity

# The astronaut's own landmarks (x, y), as CenterFace sees them.
ASTRONAUT = np.array([[203.2, 101.7], [247.0, 104.5], [223.3, 125.1], [203.4, 142.3], [241.3, 144.4]])


def photograph(scale: float = 1) -> Pixels:
    picture = np.asarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


@given(st.floats(-180, 180), st.floats(0.05, 20), st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000)))
def test_a_similarity_is_found_again(degrees: float, scale: float, shift: tuple[float, float]) -> None:
    matrix = similarity(turned(TEMPLATE, degrees, scale, shift), TEMPLATE)
    back = turned(TEMPLATE, degrees, scale, shift) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(back, TEMPLATE, atol=1e-4)
    assert Cut(matrix).scale == pytest.approx(1 / scale, rel=1e-6)


def test_no_face_is_mirrored() -> None:
    """The nearest map from a mirrored face would mirror; the nearest that a camera can make does not."""
    mirrored = TEMPLATE * [-1, 1]
    assert np.linalg.det(similarity(mirrored, TEMPLATE)[:, :2]) > 0


def test_points_that_are_one_have_no_size() -> None:
    with pytest.raises(ValueError, match="no size"):
        similarity(np.ones((5, 2)), TEMPLATE)


@pytest.mark.parametrize("scale", [0.5, 1, 4, 8])
def test_the_landmarks_come_to_lie_on_the_template(scale: float) -> None:
    (cut,) = find_cuts(ASTRONAUT[None] * scale)
    placed = ASTRONAUT * scale @ cut.matrix[:, :2].T + cut.matrix[:, 2]
    assert np.abs(placed - TEMPLATE).max() < 25  # a face is not the mean face: of 512 pixels
    face = cut_out(photograph(scale), cut)
    assert face.shape == (SIDE, SIDE, 3)
    left, right = (face[int(y) - 12 : int(y) + 12, int(x) - 12 : int(x) + 12] for x, y in TEMPLATE[:2])
    cheek = face[300:330, 150:180]
    assert max(left.min(), right.min()) + 60 < cheek.mean()  # pupils are where eyes have to be


def test_faces_too_small_to_hold_anything_are_left_out() -> None:
    tiny, large = ASTRONAUT * 0.1, ASTRONAUT
    assert [round(cut.scale, 1) for cut in find_cuts([tiny, large])] == [3.1]
    assert find_cuts(np.zeros((0, 5, 2))) == []


@pytest.mark.parametrize("degrees", [0, 33])
@pytest.mark.parametrize("scale", [0.5, 1, 4])
def test_an_identity_restorer_gives_back_the_picture(scale: float, degrees: float) -> None:
    picture = photograph(scale)
    cuts = find_cuts(turned(ASTRONAUT * scale, degrees, 1, (20, 30))[None])
    given = [cut_out(picture, cut) for cut in cuts]
    assert (paste(picture, cuts, given, given) == picture).all()


@pytest.mark.parametrize("scale", [0.5, 1, 4])
def test_a_change_lands_on_the_face_and_nowhere_else(scale: float) -> None:
    picture = photograph(scale)
    cuts = find_cuts(ASTRONAUT[None] * scale)
    given = [cut_out(picture, cut) for cut in cuts]
    darker = [np.asarray(face // 2, np.uint8) for face in given]
    result = paste(picture, cuts, given, darker)
    changed = np.argwhere((result != picture).any(2)) / scale
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert (40 < top < 60, 165 < left < 180, 170 < bottom < 190, 265 < right < 285) == (True,) * 4
    x, y = (ASTRONAUT[2] * scale).astype(int)
    np.testing.assert_allclose(result[y, x], picture[y, x] / 2, atol=4)  # all of it at the nose
    # and none of it at the mask's border: no seam
    steps = np.abs(result.astype(int) - picture).max(2)
    rim = steps[(steps > 0) & (cv2.erode((steps > 0).astype(np.uint8), np.ones((3, 3))) == 0)]
    assert rim.max() <= 8 / min(scale, 1)


def test_two_faces_that_overlap_are_not_both_laid_on() -> None:
    picture = np.full((600, 700, 3), 100, np.uint8)
    matrix = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    cuts = [Cut(matrix), Cut(matrix - [[0, 0, 120], [0, 0, 0]])]
    given = [cut_out(picture, cut) for cut in cuts]
    brighter = [face + 60 for face in given]
    result = paste(picture, cuts, given, brighter)
    assert (
        155 <= result[275, 316].min() <= result.max() <= 161
    )  # a level for rounding twice; laid on twice it is 220


def test_a_face_at_the_border_is_restored_as_far_as_it_is_there() -> None:
    whole = photograph()
    picture = np.ascontiguousarray(whole[:, 225:])  # through the nose
    cuts = find_cuts((ASTRONAUT - [225, 0])[None])
    given = [cut_out(picture, cut) for cut in cuts]
    result = paste(picture, cuts, given, [face // 2 for face in given])
    assert (result[130, 5] < picture[130, 5]).all()
    assert (result[:, 80:] == picture[:, 80:]).all()


def test_a_face_outside_the_picture_changes_nothing() -> None:
    picture = photograph(0.25)
    cuts = find_cuts((ASTRONAUT + 4000)[None])
    given = [cut_out(picture, cut) for cut in cuts] if cuts else []
    assert (paste(picture, cuts, given, given) == picture).all()


def test_the_mask_ends_inside_the_cut() -> None:
    assert faces.MASK.shape == (SIDE, SIDE)
    assert faces.MASK.max() == pytest.approx(1, abs=1e-5)
    assert (
        max(edge.max() for edge in (faces.MASK[0], faces.MASK[-1], faces.MASK[:, 0], faces.MASK[:, -1])) == 0
    )
    assert all(faces.MASK[int(y), int(x)] > 0.99 for x, y in TEMPLATE)
