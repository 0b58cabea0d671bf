"""The image-text matcher on Triton, and what it is worth when it is not there: no score, never a guess."""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from scrollintel.visual.v1 import errors_pb2
from services.quality.adherence import Calibration, Pixels, Vector, cosine, matcher_input
from services.quality.scoring import Measured
from services.runtime.errors import MeshError
from services.runtime.triton import Tensors, TritonClient

MATCHER, TEXT = "image_text_matcher", "text_embedding"
NAME = f"{MATCHER}/1"
SECONDS = 5.0
# What leaves the score out; anything else is a mistake and shows.
ABSENT = {
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    errors_pb2.ERROR_REASON_MODEL_FAILED,
    errors_pb2.ERROR_REASON_OUT_OF_MEMORY,
    errors_pb2.ERROR_REASON_OVERLOADED,
    errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
}

log = structlog.get_logger()


@dataclass(frozen=True)
class Seen:
    """A picture as the matcher sees it."""

    embedding: Vector
    """[256], of length 1; to be compared with embeddings of the same space alone."""
    space: str
    adherence: Measured | None
    """How well it shows the prompt; None without one."""


class Matcher:
    """Embeds pictures, and scores how well they show a prompt."""

    def __init__(self, triton: TritonClient, calibration: Path) -> None:
        self._triton = triton
        self._path = calibration
        self._calibration: Calibration | None = None
        self._space = ""
        self._size: tuple[int, int] | None = None

    def load(self) -> bool:
        """Read the calibration when it is there (it comes with the model, maybe after the start); tell whether it is.

        Raises ValueError when it is there and cannot be used.
        """
        if self._calibration is None and self._path.is_file():
            self._calibration = Calibration.load(self._path)
            # It is written anew with every training, and vectors of two trainings say nothing to each other.
            self._space = hashlib.sha256(self._path.read_bytes()).hexdigest()[:16]
        return self._calibration is not None

    async def look(self, picture: Pixels, prompt: str) -> Seen | None:
        """Return what the matcher sees in [H, W, 3] RGB; None without a calibration or an answer from the models."""
        if not self.load() or self._calibration is None:
            return None
        try:
            height, width = await self._input_size()
            image = await asyncio.to_thread(matcher_input, picture, height, width)
            tensors: Tensors = {"image": image[None]}
            if prompt:
                text = np.array([[prompt.encode()]], dtype=object)
                embedding = (await self._triton.infer(TEXT, {"text": text}, SECONDS))["embedding"]
                tensors["text_embedding"] = embedding.reshape(1, -1)
            outputs = await self._triton.infer(MATCHER, tensors, SECONDS)
        except MeshError as error:
            if error.reason not in ABSENT:
                raise
            log.warning("the matcher did not answer", reason=error.name)
            return None
        seen = np.asarray(outputs["embedding"][0], np.float32)
        text = np.asarray(outputs["text"][0], np.float32) if prompt else seen
        if not (np.isfinite(seen).all() and np.isfinite(text).all()):
            # Kept, one such embedding would spoil the uniqueness of the tenant's next two thousand pictures.
            log.warning("the matcher answered what is no number")
            return None
        adherence = Measured(self._calibration.score(cosine(seen, text)), NAME) if prompt else None
        return Seen(seen, self._space, adherence)

    async def _input_size(self) -> tuple[int, int]:
        """Return the height and width that the served model takes, from its configuration."""
        if self._size is None:
            config = await self._triton.config(MATCHER)
            dims = next(entry.dims for entry in config.input if entry.name == "image")
            self._size = int(dims[0]), int(dims[1])
        return self._size
