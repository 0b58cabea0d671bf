"""Prompts compared with exemplars by the model that embeds texts. What cannot be compared is an error, never a pass."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from contextvars import Context
from typing import Self

import numpy as np

from services.runtime.triton import TritonClient
from services.safety.category import Signal
from services.safety.likeness import Exemplars, Vectors, pieces

MODEL = "text_embedding"
BATCH = 32  # texts in one call, within the model's own limit of 64
REMEMBERED = 4096  # prompts whose likeness is kept, by a hash of their text: a prompt is checked twice, and often again


class Resemblance:
    """Tells what prompts resemble. Belongs to one event loop; an async context manager."""

    def __init__(self, exemplars: Exemplars, triton: TritonClient, seconds: float) -> None:
        self._exemplars = exemplars
        self._triton = triton
        self._seconds = seconds
        self._loading: asyncio.Task[Vectors] | None = None
        self._known: OrderedDict[bytes, list[Signal]] = OrderedDict()

    @property
    def checker(self) -> str:
        """Name and version, as findings carry it."""
        return self._exemplars.checker

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    async def check(self, plain: str) -> list[Signal]:
        """Return what a text in its plain spelling resembles.

        Raises MeshError when the model does not answer in time, KeyError or ValueError for a strange answer.
        """
        key = hashlib.sha256(plain.encode()).digest()
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        exemplars = await self._embedded()
        found = self._exemplars.signals(await self._embed(pieces(plain)), exemplars)
        self._known[key] = found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _embedded(self) -> Vectors:
        """Return the exemplars' embeddings, made once, and again when that failed.

        They are made apart from the call that asks first, whose time may be too short for all of them.
        """
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = asyncio.create_task(self._embed(self._exemplars.texts), context=Context())
        return await asyncio.shield(self._loading)

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        """Return FP32 [N,D] of length 1 for N texts; raises as `check`."""
        parts = []
        for start in range(0, len(texts), BATCH):
            batch = np.array([[text.encode()] for text in texts[start : start + BATCH]], dtype=np.object_)
            outputs = await self._triton.infer(MODEL, {"text": batch}, timeout=self._seconds)
            parts.append(outputs["embedding"])
        vectors = np.concatenate(parts)
        if vectors.shape[0] != len(texts) or not np.isfinite(vectors).all():
            raise ValueError(f"embeddings of shape {vectors.shape} for {len(texts)} texts")
        return np.asarray(vectors, dtype=np.float32)
