"""The second engine: a language model says what a prompt leaves open; the caller's words are put before it unchanged.

What it says goes the way of the templates' phrases: into every dialect, within its room. The model decides nothing but
phrases for open aspects, and each is held against the prompt before it is used.
"""

import asyncio
import time
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from scrollintel.visual.v1 import errors_pb2
from services.prompt.circuit import Circuit
from services.prompt.engines import FallBack, Fallback
from services.prompt.enhancement import Asked, Enhanced, enhance
from services.prompt.gaps import Gaps, allowed, parse
from services.prompt.lexicon import Lexicon
from services.prompt.meanings import Meanings
from services.prompt.styles import Level
from services.runtime.deadline import remaining
from services.runtime.errors import MeshError
from services.runtime.language_model import LanguageModel, Message, assistant, system, user

LANGUAGES = ("", "en")  # the empty one is of prompts whose few words do not tell
MOST_CHARACTERS = 600  # of a prompt; the time that a model takes grows with it
MOST_ASPECTS = 3
MOST_TOKENS = 64  # of what it writes
TEMPERATURE = 0.7  # where the caller's seed is to make a difference
LEAST_MARGIN = 0.1  # a token, in logarithms: below it, of two phrases neither is told to fit better
RESERVE_SECONDS = 0.25  # of the caller's time, for templates to answer in when the model does not
LIKE = 0.5  # least cosine of a prompt with what it becomes; docs/04-prompt.md says how little that tells

Additions = dict[str, str]


class LanguageEngine:
    """Asks a language model. Belongs to one event loop."""

    def __init__(
        self, model: LanguageModel, lexicon: Lexicon, meanings: Meanings, seconds: float, circuit: Circuit
    ) -> None:
        self._model = model
        self._lexicon = lexicon
        self._meanings = meanings
        self._seconds = seconds
        self._circuit = circuit
        self._told = yaml.safe_load(files(__package__).joinpath("language_engine.yaml").read_text("utf-8"))
        self._gaps = Gaps.of(self._told, lexicon)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def enhance(self, asked: Asked) -> Enhanced | None:
        """Rewrite a prompt with what the model says of its open aspects; None where it leaves none open."""
        names = self._gaps.open(asked, self._lexicon)[:MOST_ASPECTS]
        if asked.level is Level.NONE or not names:
            return None
        if len(asked.prompt) > MOST_CHARACTERS:
            raise FallBack(Fallback.TOO_LONG)
        if self._lexicon.languages.of(asked.prompt) not in LANGUAGES:
            raise FallBack(Fallback.LANGUAGE)
        if not self._circuit.admits():
            raise FallBack(Fallback.PAUSED)
        additions = await self._answer(asked, names)
        enhanced = await asyncio.to_thread(enhance, asked, self._lexicon, additions)
        likeness = await self._meanings.alike(asked.prompt, ", ".join([asked.prompt, *additions.values()]))
        if likeness is None or likeness < LIKE:
            raise FallBack(Fallback.DRIFT)
        return enhanced

    async def _answer(self, asked: Asked, names: list[str]) -> Additions:
        """Return what the model says of the aspects, all checks but that of meaning passed.

        What fails in less time than the settings give, for a caller in haste, says nothing of the model.
        """
        left = remaining()
        seconds = self._seconds if left is None else min(self._seconds, left - RESERVE_SECONDS)
        if seconds <= 0:
            raise FallBack(Fallback.LATE)
        ask = self._written if self._model.writes else self._chosen
        try:
            async with asyncio.timeout(seconds):
                additions = await ask(asked, names, seconds)
        except TimeoutError:
            reason = Fallback.LATE
        except MeshError as error:
            reason = REASONS.get(error.reason, Fallback.UNAVAILABLE)
        except FallBack:
            self._circuit.succeeded()
            raise
        else:
            self._circuit.succeeded()
            return additions
        if seconds == self._seconds:
            self._circuit.failed()
        raise FallBack(reason)

    async def _chosen(self, asked: Asked, names: list[str], seconds: float) -> Additions:
        """Have it choose among the lexicon's phrases for each aspect in turn; what does not stand out is not said."""
        until = time.monotonic() + seconds
        told, found = self._told["choosing"], Additions()
        for name in names:
            said = ", ".join(found.values())
            options = [
                text for text in self._lexicon.suggestions[name] if allowed(text, asked, said, self._lexicon)
            ]
            if len(options) < 2:
                continue
            talk, neutral = (
                _talk(told["system"], told["question"], [told["example"]], prompt=prompt, aspect=name)
                for prompt in (asked.prompt, told["neutral"])
            )
            choice = await self._model.choose(
                talk, options, seconds=until - time.monotonic(), neutral=neutral
            )
            if choice.margin is None or choice.margin >= LEAST_MARGIN:
                found[name] = choice.text
        if not found:
            raise FallBack(Fallback.UNSURE)
        return found

    async def _written(self, asked: Asked, names: list[str], seconds: float) -> Additions:
        """Have it write a phrase for each aspect, in one line, and hold every phrase against the prompt."""
        told = self._told["writing"]
        talk = _talk(
            told["system"],
            told["question"],
            told["examples"],
            prompt=" ".join(asked.prompt.split()),
            aspects=", ".join(names),
        )
        answer = await self._model.complete(
            talk,
            most_tokens=MOST_TOKENS,
            seconds=seconds,
            seed=asked.seed or 0,
            temperature=0.0 if asked.seed is None else TEMPERATURE,
            stop=["\n"],
        )
        found = parse(answer.text, names) if answer.ended else None
        if found is None:
            raise FallBack(Fallback.UNREADABLE)
        said = ""
        for name, phrase in found.items():
            if not self._gaps.fits(name, phrase, asked.prompt):
                raise FallBack(Fallback.NEW_SUBJECT)
            if not allowed(phrase, asked, said, self._lexicon):
                raise FallBack(Fallback.CONTRADICTION)
            said = f"{said}, {phrase}"
        return found


REASONS: Mapping[errors_pb2.ErrorReason.ValueType, Fallback] = {
    errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED: Fallback.LATE,
    errors_pb2.ERROR_REASON_MODEL_FAILED: Fallback.UNREADABLE,
}


def _talk(told: str, question: str, examples: list[dict[str, Any]], **asked: str) -> list[Message]:
    """Return how to answer, examples of it, and the question."""
    talk = [system(told)]
    for example in examples:
        talk += [user(question.format_map(example)), assistant(example["answer"])]
    return [*talk, user(question.format_map(asked))]
