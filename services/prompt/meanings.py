"""Texts compared by what they mean: known ones as embeddings, made once by the model that embeds prompts."""

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import structlog

from services.prompt.detection import Vectors
from services.prompt.recollection import Recollection
from services.runtime.deadline import MARGIN_SECONDS, remaining
from services.runtime.errors import MeshError
from services.runtime.triton import TritonClient

MODEL = "text_embedding"
BATCH = 32  # texts in one call, within the model's own limit of 64
RETRY_SECONDS = (
    5.0  # after a failure, so that a model that is away costs one call and not one for each prompt
)

log = structlog.get_logger()


class Meanings:
    """Compares a text with known ones. Belongs to one event loop."""

    def __init__(self, texts: Sequence[str], triton: TritonClient, timeout: float) -> None:
        self._texts = list(texts)
        self._triton = triton
        self._timeout = timeout
        self._vectors: Vectors | None = None
        self._recollection = Recollection()
        self._loading = asyncio.Lock()
        self._not_before = 0.0

    async def compare(self, text: str, others: Sequence[str] = ()) -> Vectors | None:
        """Return the cosine with each known text and then each of M others, [N+M] in [-1, 1].

        None when the model does not answer in time.
        """
        try:
            known = await self._embedded()
            if known is None or self._pausing():
                return None
            (vector,) = await self._embed([text])
            if others:
                known = np.concatenate([known, await self._recalled(others)])
        except (MeshError, KeyError, ValueError) as error:
            self._failed(error)
            return None
        return np.asarray(known @ vector, dtype=np.float32)

    async def alike(self, one: str, other: str) -> float | None:
        """Return the cosine of two texts; None when the model does not answer in time."""
        if self._pausing():
            return None
        try:
            vectors = await self._embed([one, other])
        except (MeshError, KeyError, ValueError) as error:
            self._failed(error)
            return None
        return float(vectors[0] @ vectors[1])

    def _failed(self, error: Exception) -> None:
        if not _caller_is_late():
            self._not_before = time.monotonic() + RETRY_SECONDS
            log.warning("by words alone", cause=str(error), retry_seconds=RETRY_SECONDS)

    async def _embedded(self) -> Vectors | None:
        """Return the known texts' embeddings; callers that come while they are made wait for the one attempt."""
        if self._vectors is None:
            async with self._loading:
                if self._vectors is None and not self._pausing():
                    self._vectors = await self._embed(self._texts)
        return self._vectors

    async def _recalled(self, texts: Sequence[str]) -> Vectors:
        """Return the embeddings of texts that may have been met before, [M,D]; those that are made are kept at once."""
        found = self._recollection.of(texts)
        new = [text for text in dict.fromkeys(texts) if text not in found]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            made = dict(zip(batch, await self._embed(batch), strict=True))
            self._recollection.add(made)
            found |= made
        return np.stack([found[text] for text in texts])

    def _pausing(self) -> bool:
        return time.monotonic() < self._not_before

    async def _embed(self, texts: list[str]) -> Vectors:
        """Return FP32 [N,D] of length 1 for N texts; raises MeshError, or KeyError or ValueError for a strange answer."""
        parts = []
        for start in range(0, len(texts), BATCH):
            batch = np.array([[text.encode()] for text in texts[start : start + BATCH]], dtype=np.object_)
            outputs = await self._triton.infer(MODEL, {"text": batch}, timeout=self._timeout)
            parts.append(outputs["embedding"])
        vectors = np.concatenate(parts)
        if vectors.shape[0] != len(texts) or not np.isfinite(vectors).all():
            raise ValueError(f"embeddings of shape {vectors.shape} for {len(texts)} texts")
        return np.asarray(vectors, dtype=np.float32)


def _caller_is_late() -> bool:
    """Tell whether the caller gave too little time, which says nothing of the model."""
    left = remaining()
    return left is not None and left <= 2 * MARGIN_SECONDS
