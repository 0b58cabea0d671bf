"""All checkers of pictures, asked about one picture at one time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.runtime.deadline import budget
from services.safety.category import WORST, Category, Signal
from services.safety.pictures.checker import NeedsWeights, Opinion, PictureChecker, Shown
from services.safety.unchecked import checking
from services.safety.verdict import Check, Went


@dataclass(frozen=True)
class Seen:
    """How each check went, in the order of the panel, and the highest risk, in [0, 1], that one of them saw."""

    checks: Sequence[Check]
    risk: float


class Panel:
    """Asks each checker within its own time. One that fails, is late or answers nonsense fails the whole."""

    def __init__(self, checkers: Sequence[PictureChecker]) -> None:
        """Take checkers in the order in which verdicts name them; raises ValueError when two have one name."""
        names = [checker.name for checker in checkers]
        if len(set(names)) < len(names):
            raise ValueError(f"two checkers of pictures have one name: {sorted(names)}")
        self._checkers = tuple(checkers)

    async def look(self, shown: Shown, what: str) -> Seen:
        """Show a picture to all checkers; `what` (`the picture`) names it where one could not check it.

        Raises MeshError SAFETY_UNCHECKED that names the first checker that failed, when the others have been stopped.
        """
        tasks = [asyncio.create_task(_ask(checker, shown, what)) for checker in self._checkers]
        try:
            opinions = await asyncio.gather(*tasks)
        finally:
            await _end(tasks)
        seen = [opinion for opinion in opinions if isinstance(opinion, Opinion)]
        with checking(what):
            if not seen:
                raise ValueError("no checker has weights")
        checks = [
            _told(checker.name, opinion) for checker, opinion in zip(self._checkers, opinions, strict=True)
        ]
        return Seen(checks, max(opinion.risk for opinion in seen))


async def _end(tasks: list[asyncio.Task[Opinion | NeedsWeights]]) -> None:
    """Stop those that still look, and forget all: an error and the task that holds it would hold each other and the picture."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()


async def _ask(checker: PictureChecker, shown: Shown, what: str) -> Opinion | NeedsWeights:
    with checking(what, checker.name):
        async with asyncio.timeout(budget(checker.seconds)):
            opinion = await checker.check(shown)
        if isinstance(opinion, NeedsWeights):
            return opinion
        return _sound(opinion)


def _sound(opinion: Opinion) -> Opinion:
    """Return an opinion as it is; raises ValueError where it is none, so that a broken model never passes a picture."""
    if not isinstance(opinion, Opinion):
        raise TypeError(f"not an opinion: {type(opinion).__name__}")
    if not 0 <= opinion.risk <= 1:  # a NaN is not, either
        raise ValueError(f"not a risk: {opinion.risk}")
    if not all(_is_sound(signal) for signal in opinion.signals):
        raise ValueError("a signal has no such category or severity")
    return opinion


def _is_sound(signal: Signal) -> bool:
    whole = isinstance(signal.severity, int) and not isinstance(signal.severity, bool)
    return isinstance(signal.category, Category) and whole and 0 <= signal.severity <= WORST


def _told(name: str, opinion: Opinion | NeedsWeights) -> Check:
    if isinstance(opinion, NeedsWeights):
        return Check(name, went=Went.NEEDS_WEIGHTS)
    return Check(name, opinion.signals)
