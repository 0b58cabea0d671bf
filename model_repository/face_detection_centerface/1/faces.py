"""CenterFace's maps to faces: one peak per face, with its box, its landmarks and how sure the network is.

Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point" (2019). The network answers for a grid
of a quarter of the picture's sides: `heatmap` [1, h, w] how sure it is that a face has its centre in the cell,
`scale` [2, h, w] the logarithm of its height and width in cells, `offset` [2, h, w] the centre's place in the cell,
and `landmarks` [10, h, w] five points as shares of the box, y before x.
"""

from typing import NamedTuple

import cv2
import numpy as np

STRIDE = 4
MULTIPLE = 32  # the network halves its picture five times
LONGEST = 1024
SHORTEST = 256
OVERLAP = 0.3


class Faces(NamedTuple):
    """Faces, the surest first: boxes [N, 4] (x0, y0, x1, y1), landmarks [N, 5, 2] (x, y), scores [N], all float32.

    The landmarks are the eye, the other eye, the tip of the nose, and the corners of the mouth, left in the picture
    before right.
    """

    boxes: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray


def fit(image):
    """Bring a picture [H, W, 3] to the size that the network looks at; returns float32 [1, 3, H', W'] and the factor.

    Its longest side becomes at most 1024 and at least 256. Measured on skimage's astronaut, whose face is 88 pixels
    wide in 512: it is found down to a picture of 32 pixels, where it is 5 wide, once that is enlarged to 256, and one
    of 23 pixels is found in a picture of 1100. The picture is padded, not stretched, to multiples of 32: a stretched
    face is none.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    factor = min(max(longest, SHORTEST), LONGEST) / longest
    if factor != 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        image = cv2.resize(np.ascontiguousarray(image), size, interpolation=how)
    below, right = (-side % MULTIPLE for side in image.shape[:2])
    padded = np.pad(image, ((0, below), (0, right), (0, 0)))
    return np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32), factor


def decode(heatmap, scale, offset, landmarks, factor, height, width, threshold):
    """Read the faces of at least `threshold` out of the maps, in pixels of the picture of `height` x `width`."""
    if not np.isfinite(heatmap).all():  # it would be a picture without faces
        raise ValueError("the network's answer is not finite")
    rows, columns = np.nonzero(heatmap[0] > threshold)
    scores = heatmap[0, rows, columns]
    order = np.argsort(-scores, kind="stable")
    rows, columns, scores = rows[order], columns[order], scores[order]
    # From here on every array speaks of x before y.
    sides = np.exp(scale[::-1, rows, columns].T) * STRIDE
    centres = (np.stack([columns, rows], 1) + offset[::-1, rows, columns].T + 0.5) * STRIDE
    corners = centres - sides / 2
    points = landmarks[:, rows, columns].T.reshape(-1, 5, 2)[..., ::-1]
    points = corners[:, None] + points * sides[:, None]
    boxes = np.concatenate([corners, corners + sides], 1)
    kept = suppress(boxes)
    limits = np.array([width, height, width, height], np.float32)
    boxes = np.clip(boxes[kept] / factor, 0, limits)
    return Faces(
        boxes.astype(np.float32), (points[kept] / factor).astype(np.float32), scores[kept].astype(np.float32)
    )


def suppress(boxes):
    """Return which of [N, 4] boxes, the surest first, are no second sight of a surer one (intersection over union)."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    left, kept = np.arange(len(boxes)), []
    while left.size:
        first, left = left[0], left[1:]
        kept.append(first)
        common = np.minimum(boxes[left, 2:], boxes[first, 2:]) - np.maximum(boxes[left, :2], boxes[first, :2])
        shared = np.prod(np.maximum(common, 0), 1)
        left = left[shared < OVERLAP * (areas[left] + areas[first] - shared)]
    return np.array(kept, int)
