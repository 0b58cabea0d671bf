"""What the caller is told of each attempt at a picture, and what follows from it."""

from collections.abc import Sequence

from scrollintel.visual.v1 import errors_pb2, events_pb2
from scrollintel.visual.v1.events_pb2 import Judged
from scrollintel.visual.v1.spec_pb2 import ImageSpec
from services.orchestrator.acceptance import Accept, Decision, Escalate, GiveUp, Regenerate
from services.orchestrator.trials import Trial, best
from services.runtime.errors import MeshError

TOLD: dict[type[Decision], events_pb2.Decision.ValueType] = {
    Accept: events_pb2.DECISION_ACCEPT,
    Regenerate: events_pb2.DECISION_REGENERATE,
    Escalate: events_pb2.DECISION_ESCALATE,
    GiveUp: events_pb2.DECISION_GIVE_UP,
}
FINAL = (Accept, GiveUp)  # decisions after which nothing more is drawn


def judged(index: int, asked: ImageSpec, trials: Sequence[Trial], decision: Decision) -> Judged:
    """Return what is told of the last of a picture's trials."""
    last = trials[-1]
    return Judged(
        index=index,
        attempt=len(trials),
        score=last.attempt.score,
        min_quality=asked.min_quality,
        metric=asked.quality_metric,
        decision=TOLD[type(decision)],
        reason=decision.reason,
        model=last.attempt.model,
        seed=last.picture.seed,
        delivered=_delivered(trials) if isinstance(decision, FINAL) else 0,
    )


def failed(index: int, asked: ImageSpec, trials: Sequence[Trial], model: str, error: Exception) -> Judged:
    """Return what is told of an attempt after `trials` that failed: no other follows, and the best of them is delivered."""
    return Judged(
        index=index,
        attempt=len(trials) + 1,
        min_quality=asked.min_quality,
        metric=asked.quality_metric,
        decision=events_pb2.DECISION_GIVE_UP,
        reason=f"this attempt failed: {_why(error)}",
        model=model,
        delivered=_delivered(trials),
    )


def _delivered(trials: Sequence[Trial]) -> int:
    chosen = best(trials)
    return 0 if chosen is None else chosen + 1


def _why(error: Exception) -> str:
    match error:
        case MeshError(reason=errors_pb2.ERROR_REASON_SAFETY_UNCHECKED):
            return "it could not be checked for safety"
        case MeshError():
            return error.message
        case TimeoutError():
            return "it took longer than there was time for"
        case _:
            return "internal error"
