"""What the router learns from the runs of its backends and from how their results were judged. Pure.

`seconds` is the pace of a backend, `loading` what bringing its model in takes, `quality` how good its pictures are.
The same runs and verdicts in the same order give the same state, so a router that starts replays what was recorded.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from router.demand import FPS
from router.learning.loading import NEVER, Loading
from router.learning.quality import Quality, QualityView
from router.learning.seconds import Forecast, Pace, Prior, amount
from router.prompt_class import PromptClass
from router.runs import OK, Run, Verdict, Work

if TYPE_CHECKING:
    from router.entries import BackendEntry

CLASSES = frozenset(PromptClass)
WORST, BEST = 1, 5  # of a rating


class _Known:
    """What is known of one backend."""

    def __init__(self, entry: "BackendEntry") -> None:
        work = typical(entry)
        seconds = entry.prior.seconds_per_step * work.steps * work.frames
        self.pace = Pace(Prior(seconds, work))
        self.loading = NEVER
        self.quality = Quality(entry.prior.quality)


class Learning:
    """What is known of each backend that was added; of others nothing is learned. It grows with the backends alone."""

    def __init__(self, entries: "Iterable[BackendEntry]" = ()) -> None:
        self._known: dict[str, _Known] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: "BackendEntry") -> None:
        """Begin to learn about a backend from its entry's prior; what is known of one of its name already is kept."""
        if entry.name not in self._known:
            self._known[entry.name] = _Known(entry)

    def observe(self, run: Run) -> None:
        """Learn how long work takes from a run that ended well; one that failed says nothing of it."""
        known = self._known.get(run.backend)
        if known is None:
            return
        if _is_positive(run.loading):
            known.loading = known.loading.after(run.loading)
        if run.outcome == OK and _is_positive(run.seconds) and _is_positive(amount(run.work)[0]):
            known.pace.observe(run.work, run.beside, run.seconds)

    def judge(self, run: Run, verdict: Verdict) -> None:
        """Learn how good a run's result was; one that the safety check refused was worth nothing to its caller."""
        known = self._known.get(run.backend)
        if known is None or run.outcome != OK or run.shadow:  # a shadow is scored on another scale
            return
        prompt_class = PromptClass(run.prompt_class) if run.prompt_class in CLASSES else PromptClass.OTHER
        for quality in _worth(verdict):
            known.quality.judge(prompt_class, quality)

    def forecast(self, backend: str) -> Forecast:
        """Return what is known of a backend's pace. Raises KeyError."""
        return self._known[backend].pace.forecast

    def quality(self, backend: str) -> QualityView:
        """Return what is known of a backend's quality. Raises KeyError."""
        return self._known[backend].quality.view

    def loading(self, backend: str) -> Loading:
        """Return what is known of a backend's loads. Raises KeyError."""
        return self._known[backend].loading


def typical(entry: "BackendEntry") -> Work:
    """Return the work of a typical run: one picture of the size that the prior was measured at, or one short video."""
    size = entry.sizes[0]
    frames = round(FPS * min(entry.durations, default=0.0)) or 1
    return Work(entry.defaults.steps, size.width * size.height / 1e6, images=1, frames=frames)


def _is_positive(figure: float) -> bool:
    return figure > 0 and math.isfinite(figure)


def _worth(verdict: Verdict) -> list[float]:
    """Return what a verdict says of quality, each in [0, 1]."""
    said = []
    if verdict.quality is not None:
        said.append(min(1.0, max(0.0, verdict.quality)))
    if verdict.unsafe:
        said.append(0.0)
    if verdict.rating is not None:
        said.append((min(BEST, max(WORST, verdict.rating)) - WORST) / (BEST - WORST))
    return said
