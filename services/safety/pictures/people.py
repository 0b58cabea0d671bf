"""Faces in a picture, and whether the proportions of one are a child's: a weak heuristic.

A child's face is low for its width and its eyes lie low in it: the skull's vault grows first, and the jaw last (Farkas,
Anthropometry of the Head and Face, 1994). Two shares say so of CenterFace's box, from the hairline to the chin, and of
its five landmarks: how far down in the box the eyes are, and how far the mouth is below them in distances of the eyes.
A head that is bowed shifts both the same way. It is asked only where nudity is suspected, and says nothing alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.runtime.threads import in_thread
from services.runtime.triton import TritonClient
from services.safety.pictures.checker import Pixels
from services.safety.pictures.classifier import classify
from services.safety.pictures.reduction import reduced

MODEL = "face_detection_centerface"
AGES = "age_classifier"  # an operator's
MOST = 8  # faces whose age is asked, the surest first
MARGIN = 0.25  # of a face's sides, shown around it
# Of 82 small photographs of grown-ups (scikit-image's excerpt of LFW) 6 have both: docs/05-safety.md.
LOW_EYES = 0.40
SHORT = 1.0
LEAST = 1e-6  # pixels, for a face without size


@dataclass(frozen=True)
class Face:
    """A face's box (left, top, right, bottom) and landmarks [5,2] (eyes, nose, corners of the mouth), in pixels."""

    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]

    @property
    def eye_height(self) -> float:
        """How far down the eyes are, from 0 at the top of the box to 1 at its bottom."""
        top, bottom = float(self.box[1]), float(self.box[3])
        return (float(self._eyes[1]) - top) / max(bottom - top, LEAST)

    @property
    def length(self) -> float:
        """How far the mouth is from the eyes, in distances between the eyes."""
        apart = float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))
        return float(np.linalg.norm(self.landmarks[3:].mean(0) - self._eyes)) / max(apart, LEAST)

    @property
    def childlike(self) -> bool:
        """Whether both proportions are those of a child."""
        return self.eye_height >= LOW_EYES and self.length <= SHORT

    @property
    def _eyes(self) -> NDArray[np.float64]:
        return np.asarray(self.landmarks[:2].mean(0))


@dataclass(frozen=True)
class People:
    """Finds faces."""

    triton: TritonClient
    seconds: float

    async def faces(self, picture: Pixels) -> list[Face]:
        """Return the faces in a picture UINT8 [H,W,3], the surest first.

        Raises MeshError, and ValueError for an answer that is none.
        """
        given = await in_thread(reduced, picture)
        found = await self.triton.infer(MODEL, {"image": given}, timeout=self.seconds)
        boxes, landmarks = (np.asarray(found[name], np.float64) for name in ("boxes", "landmarks"))
        if boxes.shape != (len(boxes), 4) or landmarks.shape != (len(boxes), 5, 2):
            raise ValueError(f"boxes {boxes.shape} and landmarks {landmarks.shape}")
        if not (np.isfinite(boxes).all() and np.isfinite(landmarks).all()):
            raise ValueError("a face is nowhere")
        factor = max(picture.shape[:2]) / max(given.shape[:2])
        return [Face(box * factor, points * factor) for box, points in zip(boxes, landmarks, strict=True)]

    async def ages(self, picture: Pixels, faces: Sequence[Face]) -> list[dict[str, float]] | None:
        """Return what an operator's classifier says of each face, None where none was built; raises as `faces` does."""
        if AGES not in await self.triton.index(self.seconds):
            return None
        said = []
        for face in faces[:MOST]:
            cut = await in_thread(portrait, picture, face)  # as large as the picture, where the face fills it
            said.append(await classify(self.triton, AGES, cut, self.seconds))
        return said


def portrait(picture: Pixels, face: Face) -> Pixels:
    """Cut a face out with a margin, at least a pixel of it."""
    height, width = picture.shape[:2]
    left, top, right, bottom = face.box
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    start = (int(np.clip(left - across, 0, width - 1)), int(np.clip(top - down, 0, height - 1)))
    end = (
        int(np.clip(right + across, start[0] + 1, width)),
        int(np.clip(bottom + down, start[1] + 1, height)),
    )
    return np.ascontiguousarray(picture[start[1] : end[1], start[0] : end[0]])
