"""Frames between two frames by dense optical flow, in both directions, with attention to what is hidden in one of them."""

import cv2
import numpy as np

# The flow search needs some pixels to search in; a smaller picture is continued for it by its border.
LEAST_SIDE = 32
# Pixels (squared) by which the way there and back may miss, plus a share of the way's length: Sundaram, Brox and
# Keutzer, Dense point trajectories, 2010.
MISS, MISS_SHARE = 0.5, 0.01
# Where more of both pictures than this has no way there and back, they show different scenes.
CUT = 0.6
FAINT = 1e-3  # the weight that a hidden pixel keeps, so that one hidden in both pictures is blended


def between(first, second, times):
    """UINT8 [H, W, 3] twice, times in (0, 1) -> one UINT8 [H, W, 3] for each time; first is at 0 and second at 1.

    Over a cut there is nothing between the pictures, and each time takes the nearer of them.
    """
    forward, backward = flow(first, second), flow(second, first)
    seen = returns(forward, backward), returns(backward, forward)
    if min(part.mean() for part in seen) < 1 - CUT:
        yield from (first if time < 0.5 else second for time in times)
        return
    for time in times:
        yield blend(first, second, forward, backward, seen, float(time))


def flow(source, target):
    """FP32 [H, W, 2]: for each pixel of `source` where it lies in `target`, as (x, y) displacement.

    Kroeger et al., Fast optical flow using dense inverse search, 2016.
    """
    height, width, _ = source.shape
    pad = 0, max(0, LEAST_SIDE - height), 0, max(0, LEAST_SIDE - width)
    grey = [
        cv2.copyMakeBorder(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), *pad, cv2.BORDER_REPLICATE)
        for image in (source, target)
    ]
    found = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
    return np.ascontiguousarray(found[:height, :width])


def returns(there, back):
    """FP32 [H, W], 1 where the way there and back ends near its start: what is seen in both pictures."""
    missed = np.square(there + warp(back, there)).sum(-1)
    length = np.square(there).sum(-1) + np.square(warp(back, there)).sum(-1)
    return (missed < MISS + MISS_SHARE * length).astype(np.float32)


def warp(image, displacement):
    """`image` [H, W, ...] read at each pixel's own place plus its displacement, the border continued."""
    height, width, _ = displacement.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        image,
        x + displacement[..., 0],
        y + displacement[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def blend(first, second, forward, backward, seen, time):
    """The picture at one time: both warped there, each pixel from where it is seen.

    The flow from the unknown picture is composed of the two known ones as in Jiang et al., Super SloMo, 2018, (4).
    """
    rest = 1 - time
    to_first = -rest * time * forward + time**2 * backward
    to_second = rest**2 * forward - time * rest * backward
    parts = []
    for image, displacement, visible, weight in (
        (first, to_first, seen[0], rest),
        (second, to_second, seen[1], time),
    ):
        parts.append((warp(image, displacement), weight * (warp(visible, displacement) + FAINT)))
    total = sum(weight for _, weight in parts)[..., None]
    mixed = sum(image.astype(np.float32) * weight[..., None] for image, weight in parts) / total
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
