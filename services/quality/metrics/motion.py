"""Motion: whether frames agree once motion is taken out, and whether motion goes on as it began.

Dense optical flow (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, OpenCV's) is taken from each
frame to the one before, 256 pixels wide. *Consistency*: the earlier frame, warped along it, against the later one (after
Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, without their masks for what was hidden); flicker, jumps
and shapes that change at random leave differences. *Smoothness*: how much the flow itself changes from pair to pair beside
how much there is of it; frames that were dropped, doubled or shuffled make it jump.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from services.quality.metrics.luminance import Pixels, bring_to_size

CONSISTENCY_NAME, SMOOTHNESS_NAME = "flow-warp/1", "flow-change/1"
LONGEST_SIDE = 256
LEAST_SIDE = 16
LEVELS = 12.0  # mean difference after warping that scores 1/e
MOST_LEVELS = 40.0  # more than that is another scene, however different
CHANGE = 0.35  # mean share of the flow that changes from pair to pair that scores 1/e
STILL = 0.5  # pixels of flow that stand for none: there, change of direction means nothing

Plane = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]


@dataclass
class Motion:
    """What was seen of a video so far; holds one frame and one flow, both small."""

    _differences: float = 0.0
    _pairs: int = 0
    _changes: float = 0.0
    _triples: int = 0
    _frame: Plane | None = None
    _flow: Flow | None = None

    def add(self, picture: Pixels) -> None:
        """Take the next frame, [H, W, 3] RGB, all of one size."""
        frame = np.asarray(cv2.cvtColor(bring_to_size(picture, LONGEST_SIDE), cv2.COLOR_RGB2GRAY), np.uint8)
        if min(frame.shape) < LEAST_SIDE:
            return
        if self._frame is not None:
            flow = find_flow(frame, self._frame)
            self._differences += min(MOST_LEVELS, difference(frame, self._frame, flow))
            self._pairs += 1
            if self._flow is not None:
                self._changes += change(self._flow, flow)
                self._triples += 1
            self._flow = flow
        self._frame = frame

    @property
    def consistency(self) -> float | None:
        """exp(-mean difference / 12 levels); None of fewer than two frames, or of frames under 16 pixels a side."""
        return math.exp(-self._differences / self._pairs / LEVELS) if self._pairs else None

    @property
    def smoothness(self) -> float | None:
        """exp(-mean change / 0.35); None of fewer than three frames. Frames that all stand still are smooth."""
        return math.exp(-self._changes / self._triples / CHANGE) if self._triples else None


def find_flow(later: Plane, earlier: Plane) -> Flow:
    """Return [H, W, 2]: for each pixel of the later frame where in the earlier one it was, in pixels from there."""
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return np.asarray(search.calc(later, earlier, None), np.float32)


def difference(later: Plane, earlier: Plane, flow: Flow) -> float:
    """Return the mean absolute difference in levels where the flow stays inside the earlier frame; 0 where it never does."""
    height, width = later.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    from_x, from_y = columns + flow[..., 0], rows + flow[..., 1]
    warped = cv2.remap(earlier, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (from_x >= 0) & (from_x <= width - 1) & (from_y >= 0) & (from_y <= height - 1)
    if not inside.any():
        return 0.0
    return float(cv2.absdiff(later, np.asarray(warped, np.uint8))[inside].mean())


def change(before: Flow, after: Flow) -> float:
    """Return in [0, 1] how much of two flows, one after the other, is not the same."""
    moved = np.linalg.norm(before, axis=2).mean() + np.linalg.norm(after, axis=2).mean()
    return float(np.linalg.norm(after - before, axis=2).mean() / (moved + 2 * STILL))
