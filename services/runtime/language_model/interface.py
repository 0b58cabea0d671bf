"""What a language model is asked and what it answers, whoever runs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class Message:
    """One turn of a talk. What a person typed belongs in a turn of the user's, where it cannot pass for another's."""

    role: Role
    content: str


def system(content: str) -> Message:
    """Say how to answer."""
    return Message(Role.SYSTEM, content)


def user(content: str) -> Message:
    """Ask."""
    return Message(Role.USER, content)


def assistant(content: str) -> Message:
    """Show an answer as the model should have given it."""
    return Message(Role.ASSISTANT, content)


@dataclass(frozen=True)
class Completion:
    """A text; `ended` is false where it was cut off at the most tokens that were allowed."""

    text: str
    ended: bool


@dataclass(frozen=True)
class Choice:
    """One of the answers that were offered, by its place among them.

    `margin` is how much likelier it is than the next, as the difference of the logarithms per token, at least 0; None
    where the model does not say.
    """

    index: int
    text: str
    margin: float | None


class LanguageModel(Protocol):
    """A model that goes on with talks. Both calls end within `seconds` and the caller's deadline, whichever is sooner.

    Both raise MeshError: MODEL_UNAVAILABLE, NOT_FOUND and MODEL_NEEDS_WEIGHTS (it is not there), MODEL_FAILED (its answer
    is rubbish), OVERLOADED, OUT_OF_MEMORY, DEADLINE_EXCEEDED, DEPENDENCY_UNAVAILABLE. No message repeats what was asked or
    answered.
    """

    @property
    def name(self) -> str:
        """What it is called in figures and answers, such as `smollm2-135m-instruct`."""
        ...

    @property
    def writes(self) -> bool:
        """Whether it is worth asking for texts of its own; a small model knows better what fits than what to say."""
        ...

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
        """Return what comes next, without the stop text that ended it.

        `temperature` 0 takes the likeliest token each time; above, equal seeds give equal texts, as far as the model
        keeps that promise: the mesh's own does.
        """
        ...

    async def choose(
        self,
        messages: Sequence[Message],
        choices: Sequence[str],
        *,
        seconds: float,
        neutral: Sequence[Message] = (),
    ) -> Choice:
        """Return which of 2 to 64 different answers comes next most likely.

        `neutral` is the same talk about nothing in particular. Where it is given, what counts is how much likelier the
        talk makes an answer than that one does, and not how common the answer's words are. An endpoint does without.
        """
        ...
