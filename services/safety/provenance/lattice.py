"""How a picture's tiles lie, guessed without the key: whatever repeats in a square lattice stands out in its autocorrelation.

A mark of one tile, repeated, puts peaks into it at one tile's distance, in the direction that the picture was turned by
since. Spectral lines are levelled first: what a picture has of its own lies in broad slopes, a lattice in narrow lines.
A guess costs nothing but time: only the key tells whether there is a mark (services/safety/provenance/watermark.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 1024  # pixels of a picture's middle that are looked at
NEAREST, FARTHEST = 30, 260  # pixels between two tiles: from a quarter to twice their size
GUESSES = (
    5  # with bench/watermark.py's photographs the right one was among the first four wherever it was at all
)

_SLOPE = 31  # bins of the spectrum that a line is levelled by
_CLIPPED = 6.0  # times its slope, the strongest that a line counts
_LOWEST, _HIGHEST = 0.02, 0.42  # cycles a pixel, where lines are looked for
_DIAGONAL = 0.7  # what the tiles across count beside the next ones
_RING = 8  # pixels of distance over which guesses are held against one another
_APART = 4.0  # pixels between two guesses

Plane: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Placement:
    """How tiles lie: `scale` times their size, turned by `degrees`, clockwise as shown, in (-45, 45]."""

    scale: float = 1.0
    degrees: float = 0.0


def guesses(lights: Sequence[Plane], tile: int) -> list[Placement]:
    """Return how tiles may lie in luminances, float32 [H,W], of pictures that lie alike; the likeliest first."""
    across, down, distance, seen = _QUARTER
    peaks = _levelled(_repetition(lights), distance, seen)
    found = []
    for _ in range(GUESSES):
        row, column = np.unravel_index(int(peaks.argmax()), peaks.shape)
        y, x = _between(peaks, int(row), int(column))
        found.append(Placement(math.hypot(y, x) / tile, math.degrees(math.atan2(y, x))))
        peaks[np.hypot(down - down[row, column], across - across[row, column]) < _APART] = -np.inf
    return found


def upright(light: Plane, placement: Placement, side: int) -> Plane:
    """Return the middle of a luminance with its tiles in their own size and upright, at most [side,side]."""
    height, width = light.shape
    scale, angle = placement.scale, math.radians(placement.degrees)
    side = max(1, min(side, round(math.hypot(height, width) / scale)))
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2]) - turn @ np.full(2, (side - 1) / 2)
    if scale > 1:  # what is finer than the new pixels would come back as waves that were never there
        light = _as_plane(cv2.GaussianBlur(light, (0, 0), 0.45 * scale))
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    # Beyond its border the picture is mirrored: an edge there would be stronger than anything in it.
    return _as_plane(
        cv2.warpAffine(
            light, np.column_stack([turn, middle]), (side, side), flags=how, borderMode=cv2.BORDER_REFLECT
        )
    )


def _quarter() -> tuple[Plane, Plane, Plane, NDArray[np.bool_]]:
    """Return a quarter of all shifts, since a lattice repeats in the others: across, down, how far, and which count."""
    down, across = np.mgrid[-FARTHEST : FARTHEST + 1, : FARTHEST + 1].astype(np.float32)
    distance = np.hypot(down, across)
    seen = (distance >= NEAREST) & (distance <= FARTHEST) & (down > -across) & (down <= across)
    return across, down, distance, seen


_QUARTER = _quarter()


def _repetition(lights: Sequence[Plane]) -> Plane:
    """Return how much pictures repeat themselves at every shift, [SIDE,SIDE], no shift in the middle."""
    power = np.zeros((SIDE, SIDE // 2 + 1), np.float32)
    for light in lights:
        even = _even(light)
        window = np.outer(np.hanning(even.shape[0]), np.hanning(even.shape[1])).astype(np.float32)
        power += np.abs(np.fft.rfft2(even * window, (SIDE, SIDE))).astype(np.float32) ** 2
    size = (_SLOPE, _SLOPE)
    lines = np.minimum(power / (cv2.blur(power, size) + np.float32(1e-9)), np.float32(_CLIPPED))
    lines -= cv2.blur(lines, size)
    cycles = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.arange(SIDE // 2 + 1)[None, :] / SIDE)
    lines[(cycles <= _LOWEST) | (cycles >= _HIGHEST)] = 0
    return np.fft.fftshift(np.fft.irfft2(lines, (SIDE, SIDE))).astype(np.float32)


def _even(light: Plane) -> Plane:
    fine = light - cv2.GaussianBlur(light, (0, 0), 4.0)
    activity = cv2.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6.0))
    even: Plane = fine / (activity + np.float32(0.5))
    return even


def _levelled(repetition: Plane, distance: Plane, seen: NDArray[np.bool_]) -> Plane:
    """Return how far each shift of a quarter stands out among those as far, as a lattice's neighbour; -inf where unseen."""
    across, down, *_ = _QUARTER
    middle = np.float32(SIDE // 2)

    def at(y: Plane, x: Plane) -> Plane:
        return _as_plane(cv2.remap(repetition, x + middle, y + middle, cv2.INTER_LINEAR))

    beside = at(down, across) + at(-across, down)
    diagonal = at(down - across, across + down) + at(down + across, across - down)
    total = beside + np.float32(_DIAGONAL) * diagonal
    ring = (distance[seen] // _RING).astype(int)
    spread = np.sqrt(np.bincount(ring, total[seen] ** 2) / np.maximum(np.bincount(ring), 1))
    peaks = np.full(total.shape, -np.inf, np.float32)
    peaks[seen] = total[seen] / np.maximum(spread[ring], 1e-9)
    return peaks


def _between(peaks: Plane, row: int, column: int) -> tuple[float, float]:
    """Return the shift, down and across, where a peak lies between the shifts that were looked at."""
    around = np.maximum(peaks[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2], 0) ** 2
    y, x = float(row - FARTHEST), float(column)
    if around.shape != (3, 3) or not around.any():
        return y, x
    steps, total = np.array([-1, 0, 1]), around.sum()
    return y + float(around.sum(axis=1) @ steps / total), x + float(around.sum(axis=0) @ steps / total)


def _as_plane(read: Any) -> Plane:
    plane: Plane = np.asarray(read, np.float32)
    return plane
