"""PDQ: 256 bits that say what a picture looks like, and stay nearly the same when it is resized, compressed or retouched.

Meta's algorithm (Davis and Rosen, "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm", 2019; the
constants are those of ThreatExchange's C++): the luminance is averaged to 64 x 64 by a tent that is two boxes wide, of its
cosine transform the 16 x 16 lowest frequencies but the constants are kept, and each bit tells whether one is above their
median. Boxes, decimation and transform are linear, and are done here by one matrix for each side.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Matrix = NDArray[np.float32]

BYTES = 32
BITS = 8 * BYTES
_SIDE = 64
_KEPT = 16
_LARGEST = 512  # larger pictures are first averaged to this, as by Meta's own program: it moves a few bits
_SMALLEST = 5  # pixels of a side, below which Meta's hash is empty


@dataclass(frozen=True)
class Hash:
    """A picture's hash UINT8 [32], first bit first, and in `variants` [8,32] those of its turns and mirror images.

    The first variant is the picture's own. `quality`, 0 to 100, tells how much there is to see; Meta trusts 50 and more.
    """

    variants: NDArray[np.uint8]
    quality: int

    @property
    def own(self) -> NDArray[np.uint8]:
        """The picture's own."""
        own: NDArray[np.uint8] = self.variants[0]
        return own


def hash_of(picture: Pixels) -> Hash:
    """Hash a picture UINT8 [H,W,3], RGB."""
    height, width = picture.shape[:2]
    if min(height, width) < _SMALLEST:
        return Hash(np.zeros((8, BYTES), np.uint8), 0)
    if max(height, width) > _LARGEST:
        height, width = min(height, _LARGEST), min(width, _LARGEST)
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    luminance = cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)
    down, across = _both_ways(_averaging(height)), _both_ways(_averaging(width))
    smalls = (
        (down @ luminance @ across.T)
        .reshape(2, _SIDE, 2, _SIDE)
        .transpose(0, 2, 1, 3)
        .reshape(4, _SIDE, _SIDE)
    )
    frequencies = _cosines() @ smalls @ _cosines().T
    turned = (*frequencies, *frequencies.transpose(0, 2, 1))
    return Hash(np.stack([_bits(each) for each in turned]), _quality(smalls[0]))


def _both_ways(averaging: Matrix) -> Matrix:
    """Return [128,side]: as it is, and for the side read backwards.

    Meta turns the frequencies instead, which is not the hash of the turned picture: boxes of an even width lean to one
    side, and a mirrored emoji lay more than 31 bits from itself in half of the cases.
    """
    return np.concatenate([averaging, averaging[:, ::-1]])


def _bits(frequencies: Matrix) -> NDArray[np.uint8]:
    flat = frequencies.ravel()
    median = np.partition(flat, BITS // 2 - 1)[BITS // 2 - 1]  # the lower of the two in the middle
    return np.packbits((flat > median)[::-1])


def _quality(small: Matrix) -> int:
    """Return how steep the 64 x 64 is: steps between neighbours, in whole hundredths of the range."""
    steps = sum(int(np.abs(np.trunc(np.diff(small, axis=axis) * (100 / 255))).sum()) for axis in (0, 1))
    return min(100, steps // 90)


@lru_cache(maxsize=1)
def _cosines() -> Matrix:
    row, column = np.arange(1, _KEPT + 1)[:, None], np.arange(_SIDE)[None, :]
    cosines = np.sqrt(2 / _SIDE) * np.cos(np.pi / 2 / _SIDE * row * (2 * column + 1))
    return np.asarray(cosines, np.float32)


@lru_cache(maxsize=16)
def _averaging(side: int) -> Matrix:
    """Return [64,side]: two passes of a box that is a 128th of the side, of which the middles of 64 blocks are kept."""
    if side == _SIDE:
        return np.eye(_SIDE, dtype=np.float32)
    window = (side + 2 * _SIDE - 1) // (2 * _SIDE)
    after = window // 2
    before = window - 1 - after
    place = np.arange(side)
    first, last = np.maximum(place - before, 0), np.minimum(place + after, side - 1)
    lengths = (last - first + 1).astype(np.float64)
    middles = ((np.arange(_SIDE) + 0.5) * side / _SIDE).astype(int)
    within = (place >= first[middles, None]) & (place <= last[middles, None])
    once = within / lengths[middles, None]
    # The second box, seen from what goes into it: place j is in the boxes of j - after to j + before.
    sums = np.concatenate([np.zeros((_SIDE, 1)), np.cumsum(once / lengths, axis=1)], axis=1)
    begin, end = np.maximum(place - after, 0), np.minimum(place + before, side - 1) + 1
    return np.asarray(sums[:, end] - sums[:, begin], np.float32)
