"""Faces out of a picture, upright and of one size, and back into it.

A face is cut where its five landmarks come nearest to those of the mean FFHQ face, which is how the restoration
networks saw faces when they were trained. What goes back is what the network changed, through a mask that ends in the
face: pixels that it left alone stay exactly what they were, whatever the resampling there and back would have done
to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Values = TypeVar("Values", Pixels, Floats)

SIDE = 512
# Mean landmarks of the FFHQ data set at 512 x 512 (x, y): eyes, tip of the nose, corners of the mouth.
TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
CENTRE, REACH = (
    (256, 275),
    (160, 205),
)  # the face in the cut, brow to chin and ear to ear: an ellipse's half axes
EROSION, FEATHER = 24, 12.0  # pixels of the cut: the mask is drawn in by the one and blurred by the other
LEAST_EYE_DISTANCE = 5.0  # pixels; of a smaller face there is nothing to restore, only to make up


@dataclass(frozen=True)
class Cut:
    """Where a face lies: `matrix` [2, 3] takes points (x, y) of the picture into the cut."""

    matrix: Matrix

    @property
    def scale(self) -> float:
        """Pixels of the cut for one of the picture."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))


def find_cuts(landmarks: npt.ArrayLike) -> list[Cut]:
    """Return a cut for each face [N, 5, 2] whose eyes are at least LEAST_EYE_DISTANCE apart, in the order given."""
    points = np.asarray(landmarks, np.float64).reshape(-1, 5, 2)
    return [
        Cut(similarity(face, TEMPLATE))
        for face in points
        if np.linalg.norm(face[1] - face[0]) >= LEAST_EYE_DISTANCE
    ]


def similarity(source: Matrix, target: Matrix) -> Matrix:
    """Return the turn, scale and shift [2, 3] that bring points [N, 2] nearest to others, in least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991), equations 40
    to 43. It never mirrors. Raises ValueError when all source points are one.
    """
    from_centre, to_centre = source.mean(0), target.mean(0)
    spread = source - from_centre
    variance = np.square(spread).sum(1).mean()
    if variance == 0:
        raise ValueError("points that are all one have no size to scale by")
    left, singular, right = np.linalg.svd((target - to_centre).T @ spread / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turn = left @ np.diag(signs) @ right
    scale = (singular * signs).sum() / variance
    return np.column_stack([scale * turn, to_centre - scale * turn @ from_centre])


def cut_out(picture: Pixels, cut: Cut) -> Pixels:
    """Return the face [512, 512, 3] of a picture [H, W, 3], mirrored beyond the picture's border."""
    inside, matrix = _window(picture, cut)
    softened = _soften(np.ascontiguousarray(picture[inside]), cut.scale)
    return np.asarray(
        cv2.warpAffine(
            softened, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        ),
        np.uint8,
    )


def paste(
    picture: Pixels, cuts: Sequence[Cut], given: Sequence[Pixels], restored: Sequence[Pixels]
) -> Pixels:
    """Return the picture [H, W, 3] with what changed between the faces as `given` and as `restored`.

    Where two faces overlap the first one has its say first. Nothing changes outside the masks.
    """
    result = picture.copy()
    taken = np.zeros(picture.shape[:2], np.uint8)
    for cut, before, after in zip(cuts, given, restored, strict=True):
        inside, matrix = _window(picture, cut)
        rows, columns = (part.stop - part.start for part in inside)
        # The change is softened where it is made smaller, else fine strokes come back as jags.
        change = _soften(after.astype(np.float32) - before, 1 / cut.scale)
        change = _back(change, matrix, (columns, rows), cv2.INTER_CUBIC)
        share = _back(MASK, matrix, (columns, rows), cv2.INTER_LINEAR)
        share *= 1 - taken[inside].astype(np.float32) / 255
        result[inside] = np.clip(np.rint(result[inside] + share[..., None] * change), 0, 255)
        taken[inside] += np.asarray(share * 255, np.uint8)
    return result


def _mask() -> Floats:
    """Return how much of each pixel of a cut is the face [512, 512], in [0, 1]: an ellipse, eroded and blurred."""
    face = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(face, CENTRE, REACH, 0, 0, 360, (255,), -1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * EROSION + 1, 2 * EROSION + 1))
    inner = cv2.erode(face, kernel).astype(np.float32) / 255
    blurred = np.asarray(cv2.GaussianBlur(inner, (0, 0), FEATHER), np.float32)
    blurred[face == 0] = 0  # the blur's last traces
    return blurred


MASK = _mask()


def _window(picture: Pixels, cut: Cut) -> tuple[tuple[slice, slice], Matrix]:
    """Return the part of the picture that the cut covers, and the matrix for points that are counted from its corner."""
    corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]], np.float64)
    placed = cv2.transform(corners[None], cv2.invertAffineTransform(cut.matrix))[0]
    margin = 4 + 2 / cut.scale  # what cubic interpolation and softening look at beyond it
    size = np.array(picture.shape[1::-1])
    # At least one pixel of the picture, though the face may lie beside it.
    low = np.clip(np.floor(placed.min(0) - margin).astype(int), 0, size - 1)
    high = np.clip(np.ceil(placed.max(0) + margin).astype(int), low + 1, size)
    matrix = cut.matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ low
    return (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))), matrix


def _back(values: Floats, matrix: Matrix, size: tuple[int, int], how: int) -> Floats:
    """Return values of a cut where they lie in a window of the picture of `size` (width, height); 0 outside the cut."""
    flags = how | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(values, matrix, size, flags=flags), np.float32)


def _soften(values: Values, scale: float) -> Values:
    """Blur what is to be made smaller by `scale` < 1, as wide as the pixels it goes into; else leave it."""
    if scale >= 1:
        return values
    blurred = cv2.GaussianBlur(values, (0, 0), 0.5 * float(np.sqrt(1 / scale**2 - 1)))
    return np.asarray(blurred, values.dtype)
