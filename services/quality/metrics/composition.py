"""Composition of a drawing: where the subject sits, and whether the frame cuts it off.

The subject is what differs from the border: the distance of each pixel's CIELAB colour from the border's median
(the background prior of Wei et al., "Geodesic Saliency Using Background Priors", ECCV 2012, without the geodesics).
Its centre of mass is compared with the places that composition teaches: the middle and the four crossings of the
rule of thirds. What the outermost ring holds of the subject, beyond an even share, is cut off.
"""

import cv2
import numpy as np
import numpy.typing as npt

from services.quality.metrics.luminance import Pixels, bring_to_size

NAME = "subject-placement/1"
LONGEST_SIDE = 128
RING = 0.03  # share of the shorter side that counts as border
LEAST_DIFFERENCE = 8.0  # CIELAB units a pixel differs from the border by chance
LEAST_SHARE = 0.002  # a subject smaller than this share of the picture is none
PLACES = np.array([(1 / 2, 1 / 2), (1 / 3, 1 / 3), (2 / 3, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 2 / 3)])
TOLERANCE = 0.15  # distance from the nearest place, in sides, that scores 1/sqrt(e)


def composition(picture: Pixels) -> float | None:
    """Return placement × completeness of [H, W, 3] RGB; None when nothing stands out from the border."""
    small = cv2.GaussianBlur(bring_to_size(picture, LONGEST_SIDE), (0, 0), 1.0)
    lab = np.asarray(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    height, width = lab.shape[:2]
    border = ring(height, width, RING)
    mass = np.linalg.norm(lab - np.median(lab[border], axis=0), axis=2)
    mass = np.clip(mass - LEAST_DIFFERENCE, 0, 50)
    if np.count_nonzero(mass) < LEAST_SHARE * mass.size:
        return None
    total = mass.sum()
    centre = np.array([mass.sum(axis=0) @ middles(width), mass.sum(axis=1) @ middles(height)]) / total
    distance = np.linalg.norm(PLACES - centre, axis=1).min()
    placement = np.exp(-0.5 * (distance / TOLERANCE) ** 2)
    cut = mass[border].sum() / total / border.mean()  # 1: the border holds as much of the subject as any part
    return float(placement * (1 - 0.5 * min(1.0, cut)))


def ring(height: int, width: int, share: float) -> npt.NDArray[np.bool_]:
    """Return where the border is, `share` of the shorter side thick and at least one pixel."""
    thickness = max(1, round(share * min(height, width)))
    border = np.ones((height, width), np.bool_)
    border[thickness:-thickness, thickness:-thickness] = False
    return border


def middles(length: int) -> npt.NDArray[np.float64]:
    """Return where the middles of so many pixels lie, in sides."""
    return (np.arange(length) + 0.5) / length
