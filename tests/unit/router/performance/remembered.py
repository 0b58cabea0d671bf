"""Runs and verdicts to remember, and a learner that says what it heard."""

import itertools
from dataclasses import dataclass, field

from router.runs import OK, Run, Verdict, Work

NOW = 1_795_401_600.0  # seconds since the epoch; a whole number, so that sums with few decimals come back as they went in

_seconds = itertools.count()


def run(request_id: str, **changes: object) -> Run:
    """Return a run that delivered, a second after the one before."""
    values = {
        "request_id": request_id, "generation_id": f"generation of {request_id}", "attempt": 1, "tenant": "ann",
        "backend": "house", "model": "house", "prompt_class": "portrait",
        "work": Work(steps=20, megapixels=0.262144, images=2, frames=1), "outcome": OK, "seconds": 1.25, "waited": 0.5,
        "loading": 0.0, "beside": 1, "usd": 0.04, "at": NOW + next(_seconds),
    }  # fmt: skip
    return Run(**{**values, **changes})  # type: ignore[arg-type]


def verdict(request_id: str, **changes: object) -> Verdict:
    """Return a verdict of ann's on a request, a second after whatever was before."""
    values = {"tenant": "ann", "at": NOW + next(_seconds), "quality": 0.75}
    return Verdict(request_id=request_id, **{**values, **changes})  # type: ignore[arg-type]


@dataclass
class Listener:
    """Remembers what it was taught, in order."""

    runs: list[Run] = field(default_factory=list)
    verdicts: list[tuple[Run, Verdict]] = field(default_factory=list)
    all: list[float] = field(default_factory=list)

    def observe(self, run: Run) -> None:
        self.runs.append(run)
        self.all.append(run.at)

    def judge(self, run: Run, verdict: Verdict) -> None:
        self.verdicts.append((run, verdict))
        self.all.append(verdict.at)

    @property
    def names(self) -> list[str]:
        return [run.request_id for run in self.runs]
