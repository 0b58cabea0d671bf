"""What a request that runs tells, from the choice of its backend to its last picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.backends.protocol import Job, Loaded, Output, Preview, Step, Stored
from router.decision import Candidate, Decision


@dataclass(frozen=True, slots=True)
class Routed:
    """A backend was chosen, why in words, and who else was considered."""

    chosen: Candidate
    decision: Decision
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class Fallback:
    """Backend `failed` failed or took too long, why in words for the caller, and backend `next` goes on."""

    failed: str
    next: str
    reason: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, and what it was drawn with."""

    output: Output
    model: str
    job: Job


RunEvent = Loaded | Step | Preview | Drawn | Stored
Event = Routed | Fallback | RunEvent
