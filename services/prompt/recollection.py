"""Embeddings of texts met before, by their content: the newest, so that one tenant's texts are not embedded at each search."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

MOST = 4000  # vectors; of 384 numbers each, 6 MB


class Recollection:
    """Holds up to `most` vectors; the one that was asked for longest ago goes first. No text is held."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()

    def of(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Return what is known of these texts."""
        found = {}
        for text in texts:
            vector = self._vectors.get(key := _key(text))
            if vector is not None:
                self._vectors.move_to_end(key)
                found[text] = vector
        return found

    def add(self, vectors: Mapping[str, Vector]) -> None:
        """Remember the vectors of texts."""
        for text, vector in vectors.items():
            self._vectors[_key(text)] = vector
        while len(self._vectors) > self._most:
            self._vectors.popitem(last=False)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
