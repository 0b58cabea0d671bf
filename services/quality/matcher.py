"""The image-text matcher on Triton, and what it is worth when it is not there: no score, never a guess."""

import asyncio
from pathlib import Path

import numpy as np
import structlog

from scrollintel.visual.v1 import errors_pb2
from services.quality.adherence import Calibration, Pixels, cosine, matcher_input
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
    errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
}

log = structlog.get_logger()


class Matcher:
    """Scores how well a picture shows a prompt."""

    def __init__(self, triton: TritonClient, calibration: Path) -> None:
        self._triton = triton
        self._path = calibration
        self._calibration: Calibration | None = None
        self._size: tuple[int, int] | None = None

    def load(self) -> bool:
        """Read the calibration when it is there (it comes with the model, maybe after the start); tell whether it is.

        Raises ValueError when it is there and cannot be used.
        """
        if self._calibration is None and self._path.is_file():
            self._calibration = Calibration.load(self._path)
        return self._calibration is not None

    async def score(self, picture: Pixels, prompt: str) -> Measured | None:
        """Return the score of [H, W, 3] RGB; None without a prompt, a calibration or an answer from the models."""
        if not prompt or not self.load() or self._calibration is None:
            return None
        try:
            height, width = await self._input_size()
            text = np.array([[prompt.encode()]], dtype=object)
            embedding = (await self._triton.infer(TEXT, {"text": text}, SECONDS))["embedding"]
            image = await asyncio.to_thread(matcher_input, picture, height, width)
            tensors: Tensors = {"image": image[None], "text_embedding": embedding.reshape(1, -1)}
            outputs = await self._triton.infer(MATCHER, tensors, SECONDS)
        except MeshError as error:
            if error.reason not in ABSENT:
                raise
            log.warning("prompt adherence not measured", reason=error.name)
            return None
        return Measured(self._calibration.score(cosine(outputs["embedding"][0], outputs["text"][0])), NAME)

    async def _input_size(self) -> tuple[int, int]:
        """Return the height and width that the served model takes, from its configuration."""
        if self._size is None:
            config = await self._triton.config(MATCHER)
            dims = next(entry.dims for entry in config.input if entry.name == "image")
            self._size = int(dims[0]), int(dims[1])
        return self._size
