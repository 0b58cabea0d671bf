"""Tiling: a picture of any size through a network in overlapping tiles whose seams are blended.

Pure: knows numpy and nothing of Triton or of what runs the network. `tiles` cuts, and a `Mosaic` blends what comes back
in whatever order it comes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Cut = tuple[list[tuple[int, Floats]], int]


@dataclass(frozen=True)
class Tiling:
    """How to cut; in input pixels.

    size: longest side of a tile. margin: reflection added round the picture, as context for its border.
    discard: pixels at a tile's inner edge that are thrown away, since the network saw nothing beyond it.
    blend: pixels after those over which one tile fades linearly into its neighbour.
    multiple: every side of a tile is a multiple of this, for networks that halve it; a picture smaller than one tile
    is reflected further for it.
    """

    size: int
    margin: int
    discard: int
    blend: int
    multiple: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for a size that no cut can keep to."""
        if self.size <= 2 * self.overlap:
            raise ValueError(f"size {self.size} must be more than twice the overlap, {self.overlap}")
        if self.size % self.multiple:
            raise ValueError(f"size {self.size} must be a multiple of {self.multiple}")

    @property
    def overlap(self) -> int:
        """Input pixels that neighbouring tiles share, at least."""
        return 2 * self.discard + self.blend

    def padding(self, length: int) -> tuple[int, int]:
        """Pixels of reflection before and after an axis of `length` pixels."""
        padded = length + 2 * self.margin
        missing = -padded % self.multiple if padded <= self.size else 0
        return self.margin, self.margin + missing


@dataclass(frozen=True)
class Tile:
    """One tile: FP32 [1, 3, h, w] in [0, 1], and its place in the grid."""

    pixels: Floats
    row: int
    column: int


def cut(length: int, tiling: Tiling, scale: int) -> Cut:
    """Cut one padded axis: ([(start, weights), ...], tile length); weights FP32 [scale * tile length].

    Tiles are equally long and evenly spread; at every output pixel the weights of the tiles add up to 1.
    """
    count = 1
    if length > tiling.size:
        count = math.ceil((length - tiling.overlap) / (tiling.size - tiling.overlap))
    tile = math.ceil((length + (count - 1) * tiling.overlap) / count)
    tile = math.ceil(tile / tiling.multiple) * tiling.multiple
    starts = [round(index * (length - tile) / max(count - 1, 1)) for index in range(count)]
    from_edge = (np.arange(scale * tile, dtype=np.float32) + 0.5) / scale
    rise = np.clip((from_edge - tiling.discard) / max(tiling.blend, 1), 0, 1)
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


def tiles(image: Pixels, tiling: Tiling, scale: int) -> Iterator[Tile]:
    """Cut UINT8 [H, W, 3] into tiles, row by row; all of one picture have the same shape."""
    height, width, _ = image.shape
    down, across = tiling.padding(height), tiling.padding(width)
    padded = np.pad(image, (down, across, (0, 0)), "reflect")
    rows, tall = cut(padded.shape[0], tiling, scale)
    columns, wide = cut(padded.shape[1], tiling, scale)
    for row, (top, _) in enumerate(rows):
        for column, (left, _) in enumerate(columns):
            pixels = padded[top : top + tall, left : left + wide].transpose(2, 0, 1)[None]
            yield Tile(pixels.astype(np.float32) / 255, row, column)


@dataclass
class _Band:
    """One row of tiles, blended so far."""

    pixels: Floats
    missing: int


@dataclass
class Mosaic:
    """What came back for the tiles of one picture [height, width], blended in any order.

    A row of tiles is rounded to bytes as soon as it and those above it are complete, so the memory used beyond the
    result is that of the rows in which tiles are still outstanding.
    """

    height: int
    width: int
    tiling: Tiling
    scale: int
    _bands: dict[int, _Band] = field(default_factory=dict, init=False)
    _next: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Cut as `tiles` does."""
        down, across = self.tiling.padding(self.height), self.tiling.padding(self.width)
        self._rows, self._tall = cut(self.height + sum(down), self.tiling, self.scale)
        self._columns, self._wide = cut(self.width + sum(across), self.tiling, self.scale)
        shape = self.scale * (self.height + sum(down)), self.scale * (self.width + sum(across)), 3
        self._result = np.empty(shape, np.uint8)
        self._carried = np.empty((0, *shape[1:]), np.float32)

    def __len__(self) -> int:
        """How many tiles the picture has."""
        return len(self._rows) * len(self._columns)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Height and width of every tile, in input pixels."""
        return self._tall, self._wide

    def add(self, tile: Tile, result: Floats) -> None:
        """Blend in a tile's result, FP32 [1, 3, scale * h, scale * w]; once for each tile."""
        if tile.row not in self._bands:
            shape = self.scale * self._tall, self._result.shape[1], 3
            self._bands[tile.row] = _Band(np.zeros(shape, np.float32), len(self._columns))
        band = self._bands[tile.row]
        left, across = self._columns[tile.column]
        shares = (self._rows[tile.row][1][:, None] * across[None, :])[..., None]
        target = band.pixels[:, self.scale * left : self.scale * (left + self._wide)]
        target += result[0].transpose(1, 2, 0) * shares
        band.missing -= 1
        while self._next in self._bands and not self._bands[self._next].missing:
            self._finish(self._bands.pop(self._next).pixels)

    def _finish(self, band: Floats) -> None:
        """Round what no later row of tiles reaches, and carry the rest to the next."""
        band[: len(self._carried)] += self._carried
        self._next += 1
        end = len(self._result)
        if self._next < len(self._rows):
            end = self.scale * self._rows[self._next][0]
        finished = band[: end - self._done]
        self._result[self._done : end] = np.clip(np.rint(finished * 255), 0, 255)
        self._carried, self._done = band[end - self._done :], end

    def picture(self) -> Pixels:
        """UINT8 [scale * height, scale * width, 3]. Raises ValueError while tiles are missing."""
        if self._done < len(self._result):
            raise ValueError(f"tiles are missing from row {self._next} on")
        top, left = (self.scale * self.tiling.padding(side)[0] for side in (self.height, self.width))
        return self._result[top : top + self.scale * self.height, left : left + self.scale * self.width]
