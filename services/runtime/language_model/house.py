"""The mesh's own language model, on Triton."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scrollintel.visual.v1 import errors_pb2
from services.runtime import deadline
from services.runtime.errors import MeshError
from services.runtime.language_model.interface import Choice, Completion, Message
from services.runtime.models import Models
from services.runtime.triton import Tensors, TritonClient

MODEL = "language_model"
NAME = "smollm2-135m-instruct"
MOST_KNOWN = 4096  # usual scores that are kept

Scores: TypeAlias = NDArray[np.float32]


class House:
    """Asks Triton, under a lease where a models server brings the model into memory."""

    def __init__(self, triton: TritonClient, models: Models | None) -> None:
        self._triton = triton
        self._models = models
        self._known: dict[tuple[tuple[Message, ...], str], float] = {}

    @property
    def name(self) -> str:
        """The published name of its weights."""
        return NAME

    @property
    def writes(self) -> bool:
        """False: of what it wrote about 200 prompts, 50 answers passed the prompt server's checks (docs/04-prompt.md)."""
        return False

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        most_tokens: int,
        seconds: float,
        seed: int = 0,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
    ) -> Completion:
        """Return what comes next; see `LanguageModel`."""
        inputs = _talk(messages) | {
            "most_tokens": np.array([[most_tokens]], np.int32),
            "temperature": np.array([[temperature]], np.float32),
            "seed": np.array([[seed]], np.int64),
        }
        if stop:
            inputs["stop"] = _texts(stop)
        answer = await self._ask(inputs, seconds)
        try:
            return Completion(bytes(answer["text"][0, 0]).decode(), ended=bool(answer["ended"][0, 0]))
        except (KeyError, IndexError, UnicodeDecodeError) as error:
            raise _rubbish() from error

    async def choose(
        self,
        messages: Sequence[Message],
        choices: Sequence[str],
        *,
        seconds: float,
        neutral: Sequence[Message] = (),
    ) -> Choice:
        """Return which answer comes next most likely, by its mean log-likelihood per token; see `LanguageModel`."""
        began = time.monotonic()
        scores = await self._scores(messages, choices, seconds)
        if neutral:
            scores = scores - await self._usual(neutral, choices, seconds - (time.monotonic() - began))
        best = int(scores.argmax())
        margin = float(scores[best] - np.delete(scores, best).max())
        return Choice(best, choices[best], margin)

    async def _usual(self, neutral: Sequence[Message], choices: Sequence[str], seconds: float) -> Scores:
        """Return what the choices score in a neutral talk; both come from code, so few are ever asked for."""
        talk = tuple(neutral)
        if any((talk, choice) not in self._known for choice in choices):
            scores = await self._scores(neutral, choices, seconds)
            if len(self._known) > MOST_KNOWN:
                self._known.clear()
            self._known |= {(talk, choice): score for choice, score in zip(choices, scores, strict=True)}
            return scores
        return np.array([self._known[talk, choice] for choice in choices], np.float32)

    async def _scores(self, messages: Sequence[Message], choices: Sequence[str], seconds: float) -> Scores:
        answer = await self._ask(_talk(messages) | {"choices": _texts(choices)}, seconds)
        scores = np.asarray(answer.get("scores", np.empty(0)), np.float32).ravel()
        if len(scores) != len(choices) or not np.isfinite(scores).all():
            raise _rubbish()
        return scores

    async def _ask(self, inputs: Tensors, seconds: float) -> Tensors:
        began = time.monotonic()
        seconds = deadline.budget(seconds)
        async with self._in_memory(seconds):
            left = seconds - (time.monotonic() - began)
            if left <= 0:
                raise MeshError(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, f"{MODEL} did not answer in time")
            return await self._triton.infer(MODEL, inputs, left)

    @asynccontextmanager
    async def _in_memory(self, seconds: float) -> AsyncIterator[None]:
        if self._models is None:
            yield
            return
        async with self._models.use(MODEL, timeout=seconds):
            yield


def _talk(messages: Sequence[Message]) -> Tensors:
    return {
        "roles": _texts([message.role.value for message in messages]),
        "contents": _texts([message.content for message in messages]),
    }


def _texts(texts: Sequence[str]) -> "np.ndarray[tuple[int, int], np.dtype[np.object_]]":
    """Return texts as a batch of one; letters that UTF-8 has not become question marks."""
    return np.array([[text.encode("utf-8", "replace") for text in texts]], dtype=np.object_)


def _rubbish() -> MeshError:
    return MeshError(
        errors_pb2.ERROR_REASON_MODEL_FAILED, f"{MODEL} gave an answer that cannot be read; try again shortly"
    )
