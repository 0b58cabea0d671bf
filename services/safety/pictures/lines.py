"""Lines of text in a picture: where the detector's map has them, cut out to be read, and in the order in which they are read.

The map's reading is that of PP-OCR (Liao and others, "Real-time scene text detection with differentiable
binarization", 2020): the network shrinks every line to its core, and what is found is grown again by as much.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Quad = NDArray[np.float32]
"""A line's corners [4,2] as (x, y): top left, top right, bottom right, bottom left of the text as it is read."""

AREA = 640 * 640  # pixels that the detector is shown (docs/05-safety.md, *Writing*)
STEP = 32  # of the detector's sides
LONGEST = 4096  # of them; a picture still longer is squeezed
HEIGHT = 48  # of a line for the recogniser
WIDEST = 1600  # of such a line; a longer one is squeezed
NARROWEST = 48  # below, the recogniser has too few steps

# In 255ths, as the map is: what belongs to a line, and what its mean must be.
_INSIDE = 0.3 * 255
_SURE = 0.5 * 255
_GROWN = 1.6  # of area over circumference: by how much a core is grown to its line
_THINNEST = 3.0  # pixels of a core in the map
_UPRIGHT = 1.5  # a box so much taller than it is wide holds text that runs up or down


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width at which a picture is shown to the detector: of `AREA`, in whole steps.

    A small picture is enlarged, at most twice.
    """
    factor = min(2.0, math.sqrt(AREA / (height * width)))
    return _stepped(height * factor), _stepped(width * factor)


def find(found: Pixels, height: int, width: int) -> list[Quad]:
    """Return the lines in a map UINT8 [h,w], probabilities in 255ths, as corners in a picture of height x width.

    The largest come first.
    """
    mask = cv2.dilate((found > _INSIDE).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([width / found.shape[1], height / found.shape[0]], np.float32)
    lines: list[tuple[float, Quad]] = []
    for contour in contours:
        centre, (one, other), angle = cv2.minAreaRect(contour)
        if min(one, other) < _THINNEST or _mean(found, _corners(centre, one, other, angle)) < _SURE:
            continue
        margin = _GROWN * one * other / (one + other)  # 2d, where d is area over circumference
        quad = _ordered(_corners(centre, one + margin, other + margin, angle) * scale)
        lines.append((cv2.contourArea(quad), quad))
    return [quad for _, quad in sorted(lines, key=lambda line: -line[0])]


def cut(picture: Pixels, quad: Quad) -> Pixels:
    """Return a line of a picture UINT8 [H,W,3] laid straight: UINT8 [48,W,3], W as its shape asks for."""
    wide, tall = (max(1.0, float(np.linalg.norm(quad[0] - quad[index]))) for index in (1, 3))
    if tall >= _UPRIGHT * wide:
        quad, wide, tall = np.roll(quad, -1, axis=0), tall, wide  # read from the top down
    width = round(min(WIDEST, max(NARROWEST, HEIGHT * wide / tall)))
    corners = np.array([[0, 0], [width, 0], [width, HEIGHT], [0, HEIGHT]], np.float32)
    near = _around(picture, quad)
    if min(near[0].shape[:2]) == 0:
        return np.zeros((HEIGHT, width, 3), np.uint8)
    piece, offset = near
    shrink = max(1.0, tall / (2 * HEIGHT))  # first by means of areas, so that thin strokes do not vanish
    if shrink > 1:
        size = (max(1, round(piece.shape[1] / shrink)), max(1, round(piece.shape[0] / shrink)))
        factors = np.array([size[0] / piece.shape[1], size[1] / piece.shape[0]], np.float32)
        piece = np.asarray(cv2.resize(piece, size, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        factors = np.ones(2, np.float32)
    way = cv2.getPerspectiveTransform(((quad - offset) * factors).astype(np.float32), corners)
    flags, border = cv2.INTER_CUBIC, cv2.BORDER_REPLICATE
    return np.asarray(
        cv2.warpPerspective(piece, way, (width, HEIGHT), flags=flags, borderMode=border), np.uint8
    )


def batched(pieces: Sequence[Pixels]) -> Pixels:
    """Return lines as one batch UINT8 [N,48,W,3], padded with grey on the right."""
    batch = np.full((len(pieces), HEIGHT, max(piece.shape[1] for piece in pieces), 3), 127, np.uint8)
    for row, piece in zip(batch, pieces, strict=True):
        row[:, : piece.shape[1]] = piece
    return batch


def reading_order(quads: Sequence[Quad]) -> list[int]:
    """Return the indices of lines from top to bottom, and from left to right where they stand beside one another.

    Up and down are those of the text: across the direction in which most of it runs.
    """
    if not quads:
        return []
    turn = _levelling(quads)
    level = [quad @ turn for quad in quads]
    middles = [float(quad[:, 1].mean()) for quad in level]
    heights = [float(np.ptp(quad[:, 1])) for quad in level]
    rows: list[list[int]] = []
    for index in sorted(range(len(quads)), key=lambda each: middles[each]):
        last = rows[-1][-1] if rows else None
        if last is not None and middles[index] - middles[last] < min(heights[index], heights[last]) / 2:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [index for row in rows for index in sorted(row, key=lambda each: float(level[each][:, 0].min()))]


def _levelling(quads: Sequence[Quad]) -> NDArray[np.float32]:
    """Return what turns points (x, y), as rows, so that most of the text runs level."""
    across, down = np.sum([quad[1] - quad[0] + quad[2] - quad[3] for quad in quads], axis=0)
    length = math.hypot(across, down) or 1.0
    return np.array([[across, -down], [down, across]], np.float32) / np.float32(length)


def _corners(centre: Sequence[float], wide: float, tall: float, angle: float) -> NDArray[np.float32]:
    return np.asarray(cv2.boxPoints((centre, (wide, tall), angle)), np.float32)


def _stepped(side: float) -> int:
    return min(LONGEST, max(STEP, round(side / STEP) * STEP))


def _mean(found: Pixels, box: NDArray[np.float32]) -> float:
    """Return the mean of the map within a box."""
    left, top = np.maximum(np.floor(box.min(axis=0)).astype(int), 0)
    right, bottom = np.ceil(box.max(axis=0)).astype(int) + 1
    part = found[top:bottom, left:right]
    mask = np.zeros(part.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(box - (left, top)).astype(np.int32)], (1,))
    return float(cv2.mean(part, mask)[0])


def _ordered(corners: NDArray[np.float32]) -> Quad:
    """Return a box's corners clockwise from the top left, its more level sides above and below."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = (pair[np.argsort(pair[:, 1], kind="stable")] for pair in (by_x[:2], by_x[2:]))
    return np.array([left[0], right[0], right[1], left[1]], np.float32)


def _around(picture: Pixels, quad: Quad) -> tuple[Pixels, NDArray[np.float32]]:
    """Return the part of a picture that holds a box, and where it begins."""
    left, top = np.maximum(np.floor(quad.min(axis=0)).astype(int), 0)
    right, bottom = np.ceil(quad.max(axis=0)).astype(int) + 1
    return picture[top:bottom, left:right], np.array([left, top], np.float32)
