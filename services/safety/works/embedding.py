"""Pictures as the house matcher sees them: what tells a retouched copy from another picture that a hash is near to."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.runtime.threads import in_thread
from services.runtime.triton import TritonClient

Pixels = NDArray[np.uint8]
Vector = NDArray[np.float16]

MODEL = "image_text_matcher"
LENGTH = 256
_SIDE = 128  # of the picture that it takes


@dataclass(frozen=True)
class Embedder:
    """Asks Triton's matcher. Vectors of two trainings say nothing to each other: their cosine is that of strangers."""

    triton: TritonClient
    seconds: float

    async def embed(self, picture: Pixels) -> Vector:
        """Return FP16 [256] of length 1 for UINT8 [H,W,3]; raises MeshError, and ValueError for a strange answer."""
        view = await in_thread(view_of, picture)
        answer = await self.triton.infer(MODEL, {"image": view[None]}, self.seconds)
        vector = np.asarray(answer["embedding"], np.float32)
        if vector.shape != (1, LENGTH) or not np.isfinite(vector).all():
            raise ValueError(f"an embedding of shape {vector.shape}")
        return np.asarray(vector[0], np.float16)


def view_of(picture: Pixels) -> Pixels:
    """Return the middle square of a picture UINT8 [H,W,3] as the matcher takes it, UINT8 [128,128,3]."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = picture[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side >= _SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(middle, (_SIDE, _SIDE), interpolation=method), np.uint8)
