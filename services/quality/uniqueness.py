"""Uniqueness: how far a picture is from the one most like it among a tenant's earlier results.

What is compared is the house matcher's embedding of the picture, whose cosine tells one subject from another. Measured
on 24 drawings of the house model and ten photographs: what JPEG at quality 50, a blur of 1.5 pixels or half the size
leaves of a picture lies at 0.94 to 1 from it, a crop of nine tenths at 0.97 (the median), and the picture most like one
of another prompt at 0.5 (the median; 0.9 for two round faces): `python -m bench.quality.likeness`.
"""

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]

COPY, OTHER = 0.98, 0.5  # cosines at which a picture is as good as the same one, and plainly another one


def uniqueness(embedding: Vector, earlier: Vectors) -> float | None:
    """Return 0 for a copy of one of [n, d] earlier embeddings to 1 for another subject; None when there are none.

    Embeddings have length 1. The cosine to the nearest falls onto the score in a straight line.
    """
    if not len(earlier):
        return None
    nearest = float((earlier @ embedding).max())
    return float(np.clip((COPY - nearest) / (COPY - OTHER), 0, 1))
