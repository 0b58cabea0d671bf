"""Whether a picture that was drawn is accepted, drawn again by the same model, or by a better one. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SLACK = 1.25  # a drawing may take so many times what the last one did: it shares its models with others
ROUNDING = 1e-9  # US dollars; six cents less twice two is not quite two
FINISH_SECONDS = 2.0  # kept back to seal and store what is delivered: some 0.3 s where nobody else is at it


@dataclass(frozen=True)
class Goal:
    """What a picture is to score, in [0, 1], and how often it may be drawn for it, from 1.

    From a score up to `near` below, another seed may well reach it.
    """

    score: float
    attempts: int
    near: float = 0.0


@dataclass(frozen=True)
class Attempt:
    """A picture as it was drawn once, by `model`, which is expected to draw with a `quality` in [0, 1].

    `score` is in [0, 1], None where there is none; `refused` says that the safety check refused it. `seconds` and `usd`
    are what one more like it would take.
    """

    model: str
    quality: float = 0.0
    score: float | None = None
    refused: bool = False
    seconds: float = 0.0
    usd: float = 0.0


@dataclass(frozen=True)
class Option:
    """A model that could draw instead: its expected quality in [0, 1], seconds and US dollars for one picture."""

    model: str
    quality: float
    seconds: float
    usd: float


@dataclass(frozen=True)
class Left:
    """What is left of the generation's time, in seconds, and money, in US dollars; infinite without a limit."""

    seconds: float = math.inf
    usd: float = math.inf


@dataclass(frozen=True)
class Accept:
    """The last attempt reaches its goal."""

    reason: str


@dataclass(frozen=True)
class Regenerate:
    """The model of the last attempt draws again, from another seed."""

    reason: str


@dataclass(frozen=True)
class Escalate:
    """Another model draws."""

    option: Option
    reason: str


@dataclass(frozen=True)
class GiveUp:
    """Nothing more is drawn."""

    reason: str


Decision = Accept | Regenerate | Escalate | GiveUp


def decide(attempts: Sequence[Attempt], goal: Goal, left: Left, options: Sequence[Option]) -> Decision:
    """Return what follows from the attempts so far, one or more; `options` are the models that could draw instead.

    Only one that is expected to be better than each that drew is taken, the best of those that there is time and money
    for. It is taken before another seed where the score is far from its goal, and once a model has failed twice.
    """
    last = attempts[-1]
    if last.score is not None and last.score >= goal.score:
        return Accept(f"{last.score:.2f} reaches {goal.score:.2f}")
    if last.refused:
        short = "the safety check refused it"
    elif last.score is None:
        return GiveUp("it could not be scored")
    else:
        short = _under(last.score, goal.score)
    if len(attempts) >= goal.attempts:
        return GiveUp(f"{short}, and all {goal.attempts} attempts are used")
    obstacle = _obstacle(last.seconds, last.usd, left)
    better = _better(attempts, left, options)
    far = last.score is not None and goal.score - last.score > goal.near
    stuck = sum(one.model == last.model for one in attempts) > 1
    if better is not None and (far or stuck or obstacle):
        return Escalate(better, f"{short}; {better.model} is expected to draw better")
    if obstacle:
        return GiveUp(f"{short}, and {obstacle}")
    return Regenerate(f"{short}; another seed is tried")


def best(attempts: Sequence[Attempt]) -> int | None:
    """Return which attempt, from 0, is delivered: the best score, the first of equals; None where all were refused.

    One without a score counts as less than any.
    """
    fit = [number for number, one in enumerate(attempts) if not one.refused]
    return max(fit, key=lambda number: _score(attempts[number]), default=None)


def _under(score: float, goal: float) -> str:
    """Return in words that a score is under its goal, with as many digits, two at least, as tell them apart."""
    digits = next((one for one in range(2, 9) if f"{score:.{one}f}" != f"{goal:.{one}f}"), 9)
    return f"{score:.{digits}f} is under {goal:.{digits}f}"


def _score(attempt: Attempt) -> float:
    return -1.0 if attempt.score is None else attempt.score


def _better(attempts: Sequence[Attempt], left: Left, options: Sequence[Option]) -> Option | None:
    """Return the option of the best expected quality that there is time and money for."""
    least = max(one.quality for one in attempts)
    tried = {one.model for one in attempts}
    fit = [
        one
        for one in options
        if one.quality > least and one.model not in tried and not _obstacle(one.seconds, one.usd, left)
    ]
    return max(fit, key=lambda one: one.quality, default=None)


def _obstacle(seconds: float, usd: float, left: Left) -> str:
    """Return in words why there is no room for a drawing of so many seconds and dollars; empty where there is."""
    if seconds * SLACK + FINISH_SECONDS > left.seconds:
        return f"another takes about {seconds:.1f} s, with {max(0.0, left.seconds):.1f} s left for it"
    if usd > left.usd + ROUNDING:
        return f"another costs ${usd:.4g}, with ${max(0.0, left.usd):.4g} left"
    return ""
