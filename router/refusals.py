"""What the caller is told when no backend can serve: the rules that stood in the way decide the error."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence

from router.decision import Decision, Refusal
from router.filters import Rule
from router.snapshot import TAKES_WORK, BackendView, Snapshot
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

NEAR = 0.5  # how alike a name must be to be suggested, in [0, 1]
SUGGESTIONS = 3

# What passes by itself: worth trying again.
AWAY = frozenset({Rule.HEALTH, Rule.DRAINING, Rule.TRIED})
# What the caller can change: the request's field that a limit is about, and the limit.
LIMITS: Mapping[Rule, tuple[str, Callable[[BackendView], int]]] = {
    Rule.STEPS: ("image.steps", lambda backend: backend.max_steps),
    Rule.IMAGES: ("image.num_images", lambda backend: backend.max_images),
}


def check_model(model: str, snapshot: Snapshot) -> None:
    """Raise MeshError MODEL_UNKNOWN, with near names, when a preferred model is none of the snapshot's."""
    known = snapshot.models()
    if model and model not in known:
        near = difflib.get_close_matches(model, known, SUGGESTIONS, NEAR) or known[:SUGGESTIONS]
        raise MeshError(
            errors_pb2.ERROR_REASON_MODEL_UNKNOWN,
            f"image.model_preference: no model is called {model}; use {' or '.join(near)}, or leave it out",
            field="image.model_preference",
            suggestions=near,
        )


def refused(decision: Decision, snapshot: Snapshot) -> MeshError:
    """Return the error for a decision without candidates.

    A full backend comes first, then one that is away, then a limit of the request, then what only the operator can
    mend: the caller is told the cheapest way to an answer.
    """
    relevant = [refusal for refusal in decision.refusals if refusal.rule not in (Rule.MODALITY, Rule.MODEL)]
    rules = {refusal.rule for refusal in relevant}
    if Rule.ROOM in rules:
        return _full([refusal.backend for refusal in relevant if refusal.rule is Rule.ROOM])
    if not rules & AWAY:
        for rule in LIMITS:
            if rule in rules:
                return _beyond(rule, [refusal.backend for refusal in relevant if refusal.rule is rule])
    return _nobody(decision, relevant, alternatives(decision, snapshot))


def alternatives(decision: Decision, snapshot: Snapshot) -> list[str]:
    """Return the models of the same modality that take work now, but for the preferred one and those that failed."""
    demand = decision.demand
    failed = {backend.model for backend in snapshot.backends if backend.name in demand.tried}
    return sorted(
        {
            backend.model
            for backend in snapshot.backends
            if backend.modality is demand.modality and backend.state in TAKES_WORK and not backend.by_name
        }
        - failed
        - {demand.model}
    )


def _full(backends: Sequence[BackendView]) -> MeshError:
    soonest = min(backends, key=BackendView.wait)
    wait = soonest.wait()
    return MeshError(
        errors_pb2.ERROR_REASON_OVERLOADED,
        f"every backend that could serve this is full; try again in {math.ceil(wait)} s",
        retry_after=wait,
        estimated_wait=wait,
        queue_position=soonest.waiting + 1,
    )


def _beyond(rule: Rule, backends: Sequence[BackendView]) -> MeshError:
    path, limit = LIMITS[rule]
    most = max(backends, key=limit)
    message = f"{path}: {most.model} takes at most {limit(most)}"
    return MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, message, field=path)


def _nobody(decision: Decision, refusals: Sequence[Refusal], others: Sequence[str]) -> MeshError:
    demand = decision.demand
    away = any(refusal.rule in AWAY for refusal in refusals)
    reason = errors_pb2.ERROR_REASON_NO_BACKEND
    if demand.model:
        reason = (
            errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE if away else errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS
        )
    told = "; ".join(f"{refusal.backend.name} {refusal.reason}" for refusal in refusals)
    return MeshError(
        reason,
        told or f"no backend makes {demand.modality}",
        retry_after=DEFAULT_RETRY_SECONDS if away else None,
        alternative_models=others,
    )
