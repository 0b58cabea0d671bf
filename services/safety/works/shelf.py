"""Hashes and embeddings of many works, and which of them a picture comes near to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from services.safety.works import pdq
from services.safety.works.embedding import LENGTH, Vector

NEAREST = 64  # works that are looked at of one picture, and of each of its turns


@dataclass(frozen=True)
class Near:
    """A work, its place, and in how many of the 256 bits a picture, as it is, turned or mirrored, differs from it."""

    id: str
    place: int
    distance: int


@dataclass(frozen=True, eq=False)
class Shelf:
    """Works in the order in which they were registered; `last` is the number of the newest.

    `hashes` is UINT8 [N,32], `vectors` FP16 [N,256] of length 1.
    """

    last: int
    ids: Sequence[str]
    hashes: NDArray[np.uint8]
    vectors: NDArray[np.float16]

    @classmethod
    def empty(cls) -> Self:
        """Return a shelf without works."""
        return cls(0, (), np.zeros((0, pdq.BYTES), np.uint8), np.zeros((0, LENGTH), np.float16))

    def __len__(self) -> int:
        return len(self.ids)

    def with_more(
        self, last: int, ids: Sequence[str], hashes: NDArray[np.uint8], vectors: NDArray[np.float16]
    ) -> "Shelf":
        """Return a shelf with works that were registered later."""
        return Shelf(
            max(last, self.last),
            (*self.ids, *ids),
            np.concatenate([self.hashes, hashes]),
            np.concatenate([self.vectors, vectors]),
        )

    def nearest(self, seen: pdq.Hash, within: int) -> list[Near]:
        """Return the works at a distance of `within` bits or fewer, the nearest first, up to 64."""
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
        return [Near(self.ids[place], place, distance) for place, distance in ranked]

    def likeness(self, near: Near, vector: Vector) -> float:
        """Return the cosine of a picture's embedding with a work's."""
        return float(self.vectors[near.place].astype(np.float32) @ vector.astype(np.float32))
