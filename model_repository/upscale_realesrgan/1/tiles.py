"""Tiling: an image of any size through a network in overlapping tiles whose seams are blended.

Pure: knows numpy and an `enlarge` function, nothing of Triton or ONNX Runtime.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tiling:
    """How to cut; in input pixels.

    size: longest side of a tile. margin: reflection added round the image, as context for its border.
    discard: pixels at a tile's inner edge that are thrown away, since the network saw nothing beyond it.
    blend: pixels after those over which one tile fades linearly into its neighbour.
    """

    size: int
    margin: int
    discard: int
    blend: int

    def __post_init__(self):
        if self.size <= 2 * self.overlap:
            raise ValueError(f"size {self.size} must be more than twice the overlap, {self.overlap}")

    @property
    def overlap(self):
        """Input pixels that neighbouring tiles share, at least."""
        return 2 * self.discard + self.blend


def cut(length, tiling, scale):
    """Cut one axis: ([(start, weights), ...], tile length); weights FP32 [scale * tile length].

    Tiles are equally long and evenly spread; at every output pixel the weights of the tiles add up to 1.
    """
    count = 1
    if length > tiling.size:
        count = math.ceil((length - tiling.overlap) / (tiling.size - tiling.overlap))
    tile = math.ceil((length + (count - 1) * tiling.overlap) / count)
    starts = [round(index * (length - tile) / max(count - 1, 1)) for index in range(count)]
    from_edge = (np.arange(scale * tile, dtype=np.float32) + 0.5) / scale
    rise = np.clip((from_edge - tiling.discard) / tiling.blend, 0, 1)
    total, weights = np.zeros(scale * length, np.float32), []
    for index, start in enumerate(starts):
        weight = np.ones(scale * tile, np.float32)
        if index > 0:
            weight *= rise
        if index < count - 1:
            weight *= rise[::-1]
        weights.append(weight)
        total[scale * start : scale * (start + tile)] += weight
    return [
        (start, weight / total[scale * start : scale * (start + tile)])
        for start, weight in zip(starts, weights, strict=True)
    ], tile


def upscale(image, enlarge, tiling, scale, proceed=lambda: True):
    """UINT8 [H, W, 3] -> UINT8 [scale * H, scale * W, 3], or None when `proceed()` said no before a tile.

    enlarge(FP32 [1, 3, h, w] in [0, 1]) -> FP32 [1, 3, scale * h, scale * w].
    """
    height, width, _ = image.shape
    margin = tiling.margin
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "reflect")
    rows, tall = cut(padded.shape[0], tiling, scale)
    columns, wide = cut(padded.shape[1], tiling, scale)
    result = np.empty((scale * padded.shape[0], scale * padded.shape[1], 3), np.uint8)
    # One band of tiles at a time: what the next band does not touch any more is rounded and done.
    band, done = np.zeros((scale * tall, result.shape[1], 3), np.float32), 0
    for index, (top, down) in enumerate(rows):
        for left, across in columns:
            if not proceed():
                return None
            tile = (
                padded[top : top + tall, left : left + wide].transpose(2, 0, 1)[None].astype(np.float32) / 255
            )
            shares = (down[:, None] * across[None, :])[..., None]
            target = band[:, scale * left : scale * (left + wide)]
            target += enlarge(tile)[0].transpose(1, 2, 0) * shares
        end = scale * rows[index + 1][0] if index + 1 < len(rows) else result.shape[0]
        finished = band[: end - done]
        result[done:end] = np.clip(np.rint(finished * 255), 0, 255)
        band = np.concatenate([band[end - done :], np.zeros_like(finished)])
        done = end
    edge = scale * margin
    return result[edge : edge + scale * height, edge : edge + scale * width]
