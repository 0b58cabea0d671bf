"""Hashes of many works, and which of them a picture comes near to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from services.safety.works import pdq

NEAREST = 8  # works that are told of one picture


@dataclass(frozen=True)
class Near:
    """A work, and in how many of the 256 bits a picture, as it is, turned or mirrored, differs from it."""

    id: str
    distance: int


@dataclass(frozen=True, eq=False)
class Shelf:
    """Works in the order in which they were registered; `last` is the number of the newest, `hashes` UINT8 [N,32]."""

    last: int
    ids: Sequence[str]
    hashes: NDArray[np.uint8]

    @classmethod
    def empty(cls) -> Self:
        """Return a shelf without works."""
        return cls(0, (), np.zeros((0, pdq.BYTES), np.uint8))

    def __len__(self) -> int:
        return len(self.ids)

    def with_more(self, last: int, ids: Sequence[str], hashes: NDArray[np.uint8]) -> "Shelf":
        """Return a shelf with works that were registered later."""
        return Shelf(max(last, self.last), (*self.ids, *ids), np.concatenate([self.hashes, hashes]))

    def nearest(self, seen: pdq.Hash, within: int) -> list[Near]:
        """Return the works at a distance of `within` bits or fewer, the nearest first, up to 8."""
        if not len(self):
            return []
        most = min(NEAREST, len(self))
        distances, places = cv2.batchDistance(
            seen.variants, self.hashes, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=most
        )
        found: dict[int, int] = {}
        for distance, place in zip(distances.ravel().tolist(), places.ravel().tolist(), strict=True):
            if distance <= within:
                found[place] = min(distance, found.get(place, distance))
        ranked = sorted(found.items(), key=lambda each: (each[1], each[0]))[:NEAREST]
        return [Near(self.ids[place], distance) for place, distance in ranked]
