"""What an experiment is. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from router.experiments.tally import Tally


class Unit(StrEnum):
    """What an experiment splits by: whoever it is keeps the arm for as long as the experiment runs."""

    TENANT = "tenant"
    USER = "user"
    REQUEST = "request"


class Metric(StrEnum):
    """What is compared between the arms."""

    QUALITY = "quality"
    SECONDS = "seconds"
    COST = "cost"
    RATING = "rating"


HIGHER_WINS = frozenset({Metric.QUALITY, Metric.RATING})


class State(StrEnum):
    """Where an experiment is in its life; only a running one splits traffic, and none ever runs again."""

    RUNNING = "running"
    DECIDED = "decided"
    GUARDED = "guarded"
    EXPIRED = "expired"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Arm:
    """A model that a share of the traffic, in [0, 1], prefers.

    A shadow gets copies of the control's requests, whose results nobody sees; its share is the part that is copied.
    """

    name: str
    model: str
    share: float
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Guardrails:
    """By how much an arm may be worse than the control: failed and refused requests as shares of all, US dollars each."""

    error_rate: float = 0.05
    unsafe_rate: float = 0.02
    cost_usd: float = 0.10


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for: the arms, the control first, for how long at most, what they are split by and compared in."""

    arms: tuple[Arm, ...]
    duration: timedelta = timedelta(days=7)
    unit: Unit = Unit.REQUEST
    metric: Metric = Metric.QUALITY
    guardrails: Guardrails = Guardrails()

    @property
    def control(self) -> Arm:
        """The arm that the others are compared with."""
        return self.arms[0]

    @property
    def shadows(self) -> tuple[Arm, ...]:
        """The arms that get copies."""
        return tuple(arm for arm in self.arms if arm.shadow)

    @property
    def twin(self) -> Arm | None:
        """The first shadow of the control's own model, which other shadows are compared with."""
        return next((arm for arm in self.shadows if arm.model == self.control.model), None)

    @property
    def tested(self) -> tuple[Arm, ...]:
        """The arms that are compared with their baseline: all but the control and its twin."""
        twin = self.twin
        return tuple(arm for arm in self.arms[1:] if arm is not twin)

    def baseline(self, arm: Arm) -> Arm:
        """Return what an arm is compared with: the control, or its twin for a shadow where there is one.

        Copies run on idle backends, and what they draw is scored as it was drawn; what callers get has waited for its
        turn, is restored, checked and scored against the prompt as it was asked. Only copies compare with copies.
        """
        return (arm.shadow and self.twin) or self.control


@dataclass(frozen=True, slots=True)
class Experiment:
    """A plan at work. Times are in seconds since the epoch; `ended_at` is None and `reason` empty while it runs.

    `p_values` holds the smallest always-valid p-value of each tested arm so far, `results` what each arm's requests had
    come to when it ended: runs are forgotten one day, and a rating that comes later changes no decision. `sequence`
    grows with every experiment that is stored, and is 0 before.
    """

    id: str
    plan: Plan
    started_at: float
    state: State = State.RUNNING
    reason: str = ""
    winner: str = ""
    ended_at: float | None = None
    p_values: Mapping[str, float] = field(default_factory=dict)
    results: Mapping[str, Tally] | None = None
    sequence: int = 0

    @property
    def expires_at(self) -> float:
        """When its time is over."""
        return self.started_at + self.plan.duration.total_seconds()
